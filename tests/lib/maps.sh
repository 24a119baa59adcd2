# shellcheck shell=bash
# For tests of direct mappings, in place of common.sh, which comes with it.
#
#	nothing_held TEXT; free_blocks; accounts TEXT, against $before
#	some_direct EXPLAINED; all_direct EXPLAINED	what inodax-run --explain=EXPLAINED said
#	map_unit; units_of OFFSET LENGTH; need_small_units
#	need_huge_pages; mount_tmpfs always|never MIB; unmount_tmpfs
#
# And two programs, A and B, that hold a map each and do what they are told ($client: tests/direct/map_client, "hold"):
#
#	start A|B FILE LENGTH WRITE [closed]	$a_pid and $a_at, or $b_pid and $b_at: the process, and where it maps.
#						By the command "${as[@]}", if any
#	tell A|B COMMAND...; says TEXT A|B WANTED COMMAND...; stop A|B
#	kind A|B OFFSET; shift_of A|B OFFSET; becomes A|B OFFSET KIND; mapped_from PID ADDRESS; plus ADDRESS BYTES
#	fill FILE MIB
#
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need_fuse
need python3 fallocate
client=$(helper direct/map_client)
mib=$((1 << 20))
as=()

# The child of a threaded process starts a thread: allowed by POSIX's wording or not, glibc does it; ThreadSanitizer has
# to be told.
export TSAN_OPTIONS="${TSAN_OPTIONS-}:die_after_fork=0"

# ---- Counts --------------------------------------------------------------------------------------

no_references() {
	[ "$(counted refcount mapcount limbo)" = "0 0 0" ]
}

# nothing_held TEXT: and no block is kept. What a closed handle held goes when the kernel has released it.
nothing_held() {
	until_true 60 no_references || fail "$1: refcount, mapcount and limbo are" \
		"$(counted refcount mapcount limbo): $("$ctl" folios "$pool" --shm "$dir/shm")"
}

# free_blocks: of the mount.
free_blocks() {
	stat -f -c %f "$mnt"
}

# shellcheck disable=SC2154	# the test sets it
all_free() {
	[ "$(free_blocks)" = "$before" ]
}

# accounts TEXT: nothing is held, and as many blocks are free as $before.
accounts() {
	nothing_held "$1"
	until_true 60 all_free || fail "$1: $(free_blocks) blocks are free, $before were before"
}

# some_direct EXPLAINED: maps were explained, and none that is not direct: memory of the file, holes, beyond its end.
some_direct() {
	grep -q -E -- ': (direct|zero) [0-9]' "$1" || fail "no map that is direct among the $(wc -l < "$1") explained"
	! grep -E 'not direct|cached [0-9]' "$1" > "$dir/other" || fail "not direct: $(head -5 "$dir/other")"
}

# all_direct EXPLAINED: maps were explained, and every one is memory of the file throughout.
all_direct() {
	[ -s "$1" ] || fail "no map was explained"
	! grep -v ': direct [0-9]*$' "$1" > "$dir/other" || fail "not direct: $(head -5 "$dir/other")"
}

# map_unit: of the pool, in bytes.
map_unit() {
	"$ctl" info "$pool" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["map_unit"])'
}

# units_of OFFSET LENGTH: how many that range of a file is in.
units_of() {
	local unit
	unit=$(map_unit)
	echo $((($1 + $2 + unit - 1) / unit - $1 / unit))
}

# need_small_units: the pool that was made maps single blocks.
need_small_units() {
	[ "$(map_unit)" = 4096 ] || skip "the pool maps no less than $(map_unit) bytes, 4096 are what this is about"
}

# ---- Pools in pages of either size ---------------------------------------------------------------

need_huge_pages() {
	! grep -Eq '\[(force|deny)\]' /sys/kernel/mm/transparent_hugepage/shmem_enabled ||
		skip "shmem_enabled decides for all tmpfs: $(cat /sys/kernel/mm/transparent_hugepage/shmem_enabled)"
}

# mount_tmpfs always|never MIB: for the pools that are made from now on, with huge pages or without.
mount_tmpfs() {
	mkdir -p "$dir/tmpfs"
	mount -t tmpfs -o "size=$2m,huge=$1" inodax-test "$dir/tmpfs" || skip "no tmpfs with huge=$1 can be mounted"
	pools=$dir/tmpfs
}

unmount_tmpfs() {
	umount "$dir/tmpfs"
	pools=
}

test_cleanup() {
	umount "$dir/tmpfs" 2>> "$log" || true
}

# ---- A and B -------------------------------------------------------------------------------------

# shellcheck disable=SC2034	# A and B are used by name
# start A|B FILE LENGTH WRITE [closed]: a client that holds a map; $a_pid and $a_at, or $b_pid and $b_at.
start() {
	local who=$1 word at pid
	shift
	case $who in
	A) coproc A { exec "${as[@]}" "$client" hold "$@" 2>> "$dir/client"; } ;;
	B) coproc B { exec "${as[@]}" "$client" hold "$@" 2>> "$dir/client"; } ;;
	esac 2>> "$dir/coproc"
	answer "$who"
	read -r word at pid <<< "$reply"
	same "client $who" "$word" mapped
	case $who in
	A) a_at=$at a_pid=$pid ;;
	B) b_at=$at b_pid=$pid ;;
	esac
}

# answer A|B: $reply is the next line of the client.
answer() {
	local -n of=$1
	read -r -t 60 reply <&"${of[0]}" || fail "client $1 does not answer: $(cat "$dir/client")"
}

# tell A|B COMMAND...: $reply is its answer.
tell() {
	local -n to=$1
	printf '%s\n' "${*:2}" >&"${to[1]}"
	answer "$1"
}

# says TEXT A|B WANTED COMMAND...
says() {
	local text=$1 who=$2 wanted=$3
	shift 3
	tell "$who" "$@"
	same "$text: client $who, $*" "$reply" "$wanted"
}

# stop A|B
stop() {
	local -n to=$1
	local pid=$a_pid
	[ "$1" = A ] || pid=$b_pid
	printf 'quit\n' >&"${to[1]}"
	wait_ended "$pid" || fail "client $1 does not end"
	same "status of client $1" "$ended" 0
}

# kind A|B OFFSET: the word of its query.
kind() {
	tell "$1" query "$2"
	echo "${reply%% *}"
}

# shift_of A|B OFFSET: log2 of the size it is accounted with.
shift_of() {
	tell "$1" query "$2"
	cut -d ' ' -f 4 <<< "$reply"
}

is_kind() {
	[ "$(kind "$1" "$2")" = "$3" ]
}

# becomes A|B OFFSET KIND: within 20 s.
becomes() {
	until_true 20 is_kind "$@" || fail "client $1, offset $2: '$(kind "$1" "$2")' after 20 s, needed $3"
}

# mapped_from PID ADDRESS: the name of the file that is mapped there.
mapped_from() {
	python3 - "$1" "$2" <<- 'END'
		import sys
		at = int(sys.argv[2], 16)
		for line in open("/proc/%s/maps" % sys.argv[1]):
		    f = line.rstrip("\n").split(maxsplit=5)
		    first, end = (int(x, 16) for x in f[0].split("-"))
		    if first <= at < end:
		        print(f[5] if len(f) > 5 else "nothing")
	END
}

# plus ADDRESS BYTES
plus() {
	printf '%x\n' $((16#$1 + $2))
}

# fill FILE MIB: with the letter x.
fill() {
	head -c $(($2 * mib)) /dev/zero | tr '\0' x > "$1"
}
