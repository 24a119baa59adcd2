# shellcheck shell=bash
# Sourced first by every test in tests/cli and tests/fuse. tests/README.md says how to write one.
#
# Gives the test a directory of its own, a pool in tmpfs, a mount of it and its checks; and at the end,
# however it comes, takes all of that away: unmounts, ends the processes that this test started (by pid),
# removes what it made.
#
# What tests use:
#	$dir $pool $mnt $log		scratch directory, pool, mount point, what the daemon said
#	$inodax $mkfs $fsck $ctl $run	the programs; helper NAME gives one of tests/
#	need PROGRAM..., need_root, need_fuse, need_inodax, need_private_mounts, need_preload, need_helper, scale QUICK NORMAL FULL
#	step TEXT; skip REASON; fail TEXT; same TEXT FOUND WANTED; expect_error REGEX COMMAND...
#	make_pool MIB [MKFS_OPTION...]; mount_pool [OPTIONS]; unmount_pool; kill_daemon; check_pool; finish
#	counted FIELD...	of all folios of the mount: refcount, mapcount, limbo ...; needs python3
#	test_cleanup		a function that a test may define: called when its processes are gone
#	background COMMAND...; until_true SECONDS COMMAND...
#
# What the user may set:
#	INODAX_TEST_FULL=1	the long form of each test
#	INODAX_TEST_UNIT	the map unit of pools, as mkfs.inodax --unit has it, where a test does not say
#	INODAX_TEST_QUICK=1	the short form, for instrumented builds
#	INODAX_TEST_FSTYP	inodax (default), ext4 (on a loop device) or tmpfs: is it the test or the filesystem?
#	INODAX_TEST_POOLS	directory in tmpfs for pools, default /dev/shm
#	INODAX_TEST_DEVICE	a device-DAX node to make pools of, one test at a time; its contents are lost
#	INODAX_TEST_KEEP=1	leave the directories of a failed test
#	INODAX_TEST_TIMEOUT	seconds until a test is ended, default 900 (full: none)

set -Eeuo pipefail
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

# A test has its mounts for itself. Whoever makes a mount namespace copies the mounts there are, and a mount
# that was copied stays, with its daemon, until the copy is gone too: tests that run at once would wait for
# each other.
if [ -z "${INODAX_TEST_PRIVATE:-}" ] && [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
	INODAX_TEST_PRIVATE=1 exec unshare -m --propagation private bash "$0" "$@"
fi

top_srcdir=$(cd "${top_srcdir:-.}" && pwd)
top_builddir=$(cd "${top_builddir:-.}" && pwd)
export top_srcdir top_builddir

test_path=$(realpath "$0")
test_path=${test_path#"$top_srcdir/"}
fstyp=${INODAX_TEST_FSTYP:-inodax}
export inodax=$top_builddir/inodax
export mkfs=$top_builddir/mkfs.inodax
export fsck=$top_builddir/fsck.inodax
export ctl=$top_builddir/inodaxctl
export run=$top_builddir/inodax-run

# Words in the daemon's log that mean a bug of ours or damage, whatever the exit status.
bad_words='[Aa]ssert|Sanitizer|runtime error|UNCLEAN|needs cleaning|BUG|double free|corrupt|error:'

dir=$(mktemp -d "${TMPDIR:-/tmp}/inodax-test.XXXXXX")
chmod 755 "$dir"
pools=
pool=
mnt=$dir/mnt
log=$dir/daemon.log
daemon=
watchdog=
pids=()
mkdir "$mnt"
: > "$log"

# ---- Results -------------------------------------------------------------------------------------

step() {
	printf -- '-- %s\n' "$*"
}

fail() {
	trap - ERR
	printf 'FAIL: %s\n' "$*"
	exit 1
}

skip() {
	printf 'SKIP: %s\n' "$*"
	exit 77
}

# same TEXT FOUND WANTED
same() {
	[ "$2" = "$3" ] || fail "$1: found '$2', needed '$3'"
}

# scale QUICK NORMAL FULL: the one of three amounts that was asked for.
scale() {
	if [ "${INODAX_TEST_FULL:-0}" = 1 ]; then
		printf '%s\n' "$3"
	elif [ "${INODAX_TEST_QUICK:-0}" = 1 ]; then
		printf '%s\n' "$1"
	else
		printf '%s\n' "$2"
	fi
}

# ---- What a test needs ---------------------------------------------------------------------------

need() {
	local program
	for program; do
		command -v "$program" > "$dir/need" || skip "$program is not installed"
	done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip "only root can do this"
}

need_fuse() {
	[ "$fstyp" = inodax ] || { need_root; return 0; }
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
	[ "$(id -u)" = 0 ] || need fusermount3
	[ -x "$inodax" ] || fail "$inodax is not built"
}

need_inodax() {
	[ "$fstyp" = inodax ] || skip "tests inodax itself"
}

# Programs without a sanitizer do not load a library with one.
need_preload() {
	local library=$top_builddir/.libs/libinodax-preload.so
	[ -e "$library" ] || fail "$library is not built"
	! grep -q -a -E '__(asan|tsan)_init' "$library" ||
		skip "$library has a sanitizer in it; other programs cannot load it"
}

need_private_mounts() {
	[ -n "${INODAX_TEST_PRIVATE:-}" ] || skip "no mount namespace can be made"
}

# helper NAME: path of a program under tests/.
helper() {
	[ -x "$top_builddir/tests/$1" ] || fail "tests/$1 is not built"
	printf '%s\n' "$top_builddir/tests/$1"
}

# need_helper NAME PACKAGE: such a program, which configure leaves out where the library in PACKAGE is not installed.
need_helper() {
	[ -x "$top_builddir/tests/$1" ] || skip "tests/$1 was not built: $2 was not installed at configure"
}

# elf PROGRAM: the program itself where libtool left a script in its place.
elf() {
	local real
	real=$(dirname "$1")/.libs/$(basename "$1")
	if [ -x "$real" ] && head -c 2 "$1" | grep -q '#!'; then
		printf '%s\n' "$real"
	else
		printf '%s\n' "$1"
	fi
}

# A directory in tmpfs with room for MIB: below $INODAX_TEST_POOLS or, where that is too small, a tmpfs of our
# own.
make_pool_dir() {
	local mib=$1 base=${INODAX_TEST_POOLS:-/dev/shm} avail
	if [ -z "$pools" ]; then
		avail=$(df --output=avail -k "$base" 2> "$dir/df.err" | tail -n 1 || true)
		if [ $((${avail:-0} / 1024)) -gt $((mib + 64)) ] && [ -w "$base" ]; then
			pools=$(mktemp -d "$base/inodax-test.XXXXXX")
			chmod 755 "$pools"
		else
			[ "$(id -u)" = 0 ] || skip "$base has no room for $mib MiB"
			pools=$dir/pools
			mkdir "$pools"
			mount -t tmpfs -o "size=$((mib + 64))m,mode=755" inodax-test "$pools" ||
				skip "$base has no room for $mib MiB, and no tmpfs can be mounted"
		fi
	fi
}

# ---- Processes -----------------------------------------------------------------------------------

# background COMMAND...: run it; it is ended with the test. Its pid is $!.
background() {
	"$@" < /dev/null &
	pids+=("$!")
}

# until_true SECONDS COMMAND...: ask ten times a second.
until_true() {
	local tries=$(($1 * 10))
	shift
	until "$@"; do
		((tries-- > 0)) || return 1
		sleep 0.1
	done
}

gone() {
	! kill -0 "$1" 2> /dev/null
}

# wait_ended PID: $ended is its exit status; false when it has not ended after 60 s.
wait_ended() {
	local status=0
	until_true 60 gone "$1" || return 1
	wait "$1" || status=$?
	ended=$status
}

# expect_error REGEX COMMAND...: it fails, with one line on standard error that matches.
expect_error() {
	local want=$1 status=0
	shift
	timeout 60 "$@" > "$dir/expect.out" 2> "$dir/expect.err" < /dev/null || status=$?
	[ "$status" != 0 ] || fail "'$*' succeeded; an error matching '$want' was needed"
	[ "$status" -lt 124 ] || fail "'$*' ended with status $status: $(cat "$dir/expect.err")"
	same "lines of error from '$*': $(cat "$dir/expect.err"): lines" "$(wc -l < "$dir/expect.err")" 1
	grep -Eq -- "$want" "$dir/expect.err" ||
		fail "'$*' said '$(cat "$dir/expect.err")'; needed is a match of '$want'"
}

# ---- Pools and mounts ----------------------------------------------------------------------------

# make_pool MIB [MKFS_OPTION...]: $pool, made anew; as large as it is where a device was given.
make_pool() {
	local mib=$1
	shift
	[ -z "${INODAX_TEST_UNIT:-}" ] || [[ " $* " == *" --unit "* ]] || set -- "$@" --unit "$INODAX_TEST_UNIT"
	if [ "$fstyp" = inodax ] && [ -n "${INODAX_TEST_DEVICE:-}" ]; then
		pool=$INODAX_TEST_DEVICE
		"$mkfs" --quiet --force "$@" "$pool" || fail "mkfs.inodax"
		return
	fi
	make_pool_dir "$mib"
	pool=$pools/pool
	rm -f "$pool"
	case $fstyp in
	inodax)
		"$mkfs" --quiet --size "${mib}m" "$@" "$pool" || fail "mkfs.inodax" ;;
	ext4)
		truncate -s "${mib}M" "$pool"
		mkfs.ext4 -q -b 4096 "$pool" ;;
	tmpfs)
		printf '%s\n' "$mib" > "$pool" ;;
	esac
}

mounted() {
	grep -qs " $mnt " /proc/self/mountinfo
}

# The daemon of mount_pool answers, or has ended.
mounted_or_ended() {
	mounted || gone "$daemon"
}

# mount_pool [OPTIONS]: OPTIONS as after -o. The daemon is $daemon and writes to $log. What a killed one leaves in
# shared memory lies in $dir, which goes.
mount_pool() {
	local options=${1:-}
	[ "$fstyp" != inodax ] || [[ ,$options == *,shm=* ]] || options=shm=$dir/shm${options:+,$options}
	case $fstyp in
	inodax)
		"$inodax" -f ${options:+-o "$options"} "$pool" "$mnt" >> "$log" 2>&1 < /dev/null &
		daemon=$!
		until_true 120 mounted_or_ended || fail "not mounted after 120 s"
		mounted || fail "the daemon ended without mounting" ;;
	ext4)
		mount -o loop "$pool" "$mnt" ;;
	tmpfs)
		mount -t tmpfs -o "size=$(cat "$pool")m" inodax-test "$mnt" ;;
	esac
}

scan_log() {
	! grep -nE "$bad_words" "$log" || fail "the daemon's log has suspicious words"
}

# unmount_pool: and wait for the daemon's clean end.
unmount_pool() {
	if [ "$(id -u)" = 0 ]; then
		umount "$mnt"
	else
		fusermount3 -u "$mnt"
	fi
	[ -n "$daemon" ] || return 0
	wait_ended "$daemon" || fail "the daemon (pid $daemon) still runs 60 s after the unmount"
	daemon=
	same "exit status of the daemon" "$ended" 0
	scan_log
}

# Unmount what has no daemon any more, or does not answer.
unmount_dead() {
	mounted || return 0
	fusermount3 -u -z "$mnt" 2>> "$log" || umount -l "$mnt" 2>> "$log" || true
}

# kill_daemon: as a crash would. The mount is taken away, the pool left as it is.
kill_daemon() {
	kill -KILL "$daemon"
	# The shell says on standard error that a child was killed, wherever it notices.
	wait_ended "$daemon" 2>> "$dir/killed" || fail "the daemon (pid $daemon) survives SIGKILL for 60 s"
	daemon=
	same "exit status of the killed daemon" "$ended" 137
	unmount_dead
	scan_log
}

# check_pool: everything about the unmounted pool is as the format wants it.
check_pool() {
	case $fstyp in
	inodax)
		"$fsck" -f "$pool" > "$dir/fsck.out" 2>&1 || fail "fsck.inodax -f: status $?: $(cat "$dir/fsck.out")" ;;
	ext4)
		e2fsck -fn "$pool" > "$dir/fsck.out" 2>&1 || fail "e2fsck: $(cat "$dir/fsck.out")" ;;
	esac
}

# counted FIELD...: the sums of fields over all folios of the mounted pool, as tools see them from outside (inodaxctl
# folios), in one line and all of one look.
counted() {
	"$ctl" folios "$pool" --shm "$dir/shm" --json > "$dir/folios" 2> "$dir/folios.err" ||
		fail "inodaxctl folios: $(cat "$dir/folios.err")"
	python3 -c 'import json, sys; t = json.load(sys.stdin)["totals"]; print(*(t[f] for f in sys.argv[1:]))' \
		"$@" < "$dir/folios"
}

# finish: how most tests end.
finish() {
	unmount_pool
	check_pool
}

# ---- The end -------------------------------------------------------------------------------------

end_children() {
	local pid
	for pid in "${pids[@]}" $(ps -o pid= --ppid $$); do
		[ "$pid" = "$daemon" ] || [ "$pid" = "$watchdog" ] || kill -KILL "$pid" 2> /dev/null || true
	done
}

# Unmounting comes before killing the daemon: it is the way to an answer for whoever waits in the mount.
end_mount() {
	if mounted; then
		timeout 10 umount "$mnt" 2>> "$log" || timeout 10 fusermount3 -u "$mnt" 2>> "$log" || true
	fi
	if [ -n "$daemon" ] && ! until_true 5 gone "$daemon"; then
		kill -KILL "$daemon" 2> /dev/null || true
	fi
	unmount_dead
}

show_failure() {
	if [ -s "$log" ]; then
		printf '== the daemon said (last 40 lines):\n'
		tail -n 40 "$log"
	fi
	printf '== to run this test again:\n'
	printf 'make check TESTS=%s VERBOSE=1\n' "$test_path"
	printf 'or, in the build directory: top_srcdir=%s bash %s\n' "$top_srcdir" "$top_srcdir/$test_path"
}

at_exit() {
	local status=$?
	trap - ERR EXIT
	trap '' INT TERM HUP
	set +e
	cd /
	end_children
	end_mount
	if declare -F test_cleanup > /dev/null; then
		test_cleanup
	fi
	if [ -n "$watchdog" ]; then
		kill "$watchdog" 2> /dev/null
	fi
	if [ "$status" != 0 ] && [ "$status" != 77 ]; then
		show_failure
		if [ "${INODAX_TEST_KEEP:-0}" = 1 ]; then
			printf 'kept: %s %s\n' "$dir" "$pools"
			exit "$status"
		fi
	fi
	if [ "$pools" = "$dir/pools" ]; then
		umount "$pools"
	fi
	rm -rf --one-file-system "$dir" ${pools:+"$pools"}
	exit "$status"
}

# Ends a test that hangs: without its daemon and children nothing in it waits any longer.
watch() {
	local seconds=${INODAX_TEST_TIMEOUT:-900}
	mkfifo "$dir/watchdog"
	(
		trap - ERR EXIT
		trap 'exit 0' TERM
		read -r -t "$seconds" _ <> "$dir/watchdog" || true
		printf 'FAIL: not finished after %s s; processes of the test:\n' "$seconds"
		ps -o pid,stat,wchan:24,args --ppid $$ || true
		kill -TERM $$
		for pid in $(ps -o pid= --ppid $$); do
			[ "$pid" = "$BASHPID" ] || kill -KILL "$pid"
		done
	) &
	watchdog=$!
}

trap at_exit EXIT
trap 'printf "FAIL: line %s of %s: %s\n" "$LINENO" "${BASH_SOURCE[0]##*/}" "$BASH_COMMAND" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ "${INODAX_TEST_FULL:-0}" != 1 ] || [ -n "${INODAX_TEST_TIMEOUT:-}" ]; then
	watch
fi
