#!/bin/bash
# Runs a script in a guest with persistent memory: a kernel of Debian under QEMU's software emulation, with parts of its
# RAM declared as such. The only hardware that this needs is time.
#
#	tests/guest/guest.sh [OPTION...] KERNEL SCRIPT [ARGUMENT...]
#
# KERNEL is a version of a package linux-image-*, as 6.1 or 6.12; or VERSION@SUITE, if the system's apt does not know that
# suite. SCRIPT is run by bash in the guest, as root. The guest has the programs and tests that are built in $top_builddir
# (default: here) in /inodax, and those of this system that image.sh names. It has
#	/dev/pmem0, /dev/pmem1	768 MiB each (regions 0 and 1 of ndctl)
#	region2			896 MiB
#	region3			128 MiB
# What the script says on standard output or error comes out of this one's standard output. Its status is this one's
# status; 77 when the guest cannot be run here, for the reason that is said; 124 when time is up; 125 when the guest ended
# without a status.
#
# Options:
#	-t SECONDS	to wait at most, default 600
#	-a FILE		a file or folder, to be /guest/NAME there; may be repeated
#	-i		one processor that counts instructions: its clock then shows how many were executed
#	-v		show the kernel's messages, too; warnings among them are shown in any case
#
# Kernels and collected programs are kept in $INODAX_GUEST_CACHE, default ~/.cache/inodax-guest. What is needed is
# installed by
#	scripts/install-deps.sh qemu-system-x86 busybox-static ndctl daxctl e2fsprogs xfsprogs kmod cpio xz-utils zstd binutils
set -Eeuo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top_srcdir=$(cd "$here/../.." && pwd)
top_builddir=$(cd "${top_builddir:-$top_srcdir}" && pwd)
cache=${INODAX_GUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/inodax-guest}
# The system's own programs, not those that somebody put before them: they go into the guest.
PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH
seconds=600
add=()
counting=
verbose=
remove=()
qemu=
viewer=

say() {
	printf 'guest: %s\n' "$*" >&2
}

# For a reason that is not a fault of what is under test.
cannot() {
	say "$*"
	exit 77
}

usage() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit "$1"
}

# shellcheck source=tests/guest/kernel.sh
. "$here/kernel.sh"
# shellcheck source=tests/guest/image.sh
. "$here/image.sh"

# shellcheck disable=SC2317	# called at the end
at_exit() {
	local status=$?
	trap - EXIT
	[ -z "$qemu" ] || { kill "$qemu" && wait "$qemu"; } 2> /dev/null || true
	[ -z "$viewer" ] || { kill "$viewer" && wait "$viewer"; } 2> /dev/null || true
	rm -rf "${remove[@]}"
	exit "$status"
}

need() {
	local name missing=()
	for name in qemu-system-x86_64 busybox ndctl daxctl mkfs.ext4 depmod cpio xz zstd strip dpkg-deb apt-get flock; do
		command -v "$name" > /dev/null || missing+=("$name")
	done
	[ ${#missing[@]} = 0 ] || cannot "not installed: ${missing[*]}; guest.sh -h tells what installs it"
	[ "$(uname -m)" = x86_64 ] || cannot "only x86_64 is known here"
}

# make_run SCRIPT [ARGUMENT...]: the last part of the initramfs, with what differs from run to run.
make_run() {
	local tree=$dir/run name
	mkdir -p "$tree/guest"
	install -m 755 "$here/init.sh" "$tree/init"
	cp "$1" "$tree/guest/script"
	shift
	{ printf 'bash /guest/script'; [ $# = 0 ] || printf ' %q' "$@"; printf '\n'; } > "$tree/guest/run"
	for name in "${add[@]}"; do
		cp -r "$name" "$tree/guest/"
	done
	pack "$tree" "$dir/run.cpio"
}

# The memory of the regions: in the part of the RAM that lies above 4 GiB, aligned to 128 MiB.
pmem='memmap=768M!4G memmap=768M!4864M memmap=896M!6G memmap=128M!7040M'
messages=quiet

start() {
	local machine=(-accel "tcg,thread=multi" -cpu "max,la57=off" -smp 2)
	[ -z "$counting" ] || machine=(-accel "tcg,thread=single" -icount "shift=0,sleep=off" -cpu "max,la57=off,erms=off" -smp 1)
	[ -z "$verbose" ] || messages=
	: > "$dir/out"
	: > "$dir/console"
	timeout -k 5 "$seconds" qemu-system-x86_64 -machine pc -m 6G "${machine[@]}" -nographic -nodefaults -no-reboot -net none \
		-kernel "$kernel_dir/vmlinux" -initrd "$dir/initrd" -serial "file:$dir/console" -serial "file:$dir/out" \
		-append "console=ttyS0 $messages nokaslr mitigations=off nowatchdog tsc=reliable random.trust_cpu=on panic=-1 $pmem" \
		< /dev/null > "$dir/qemu.out" 2>&1 &
	qemu=$!
	tail -n +1 -s 0.2 --pid="$qemu" -f "$dir/out" | sed -u '/^guest-status [0-9]*$/d' &
	viewer=$!
}

# What the kernel complains about is shown always; what it comes to is for the script to say.
show_console() {
	if [ -n "$verbose" ]; then
		sed 's/^/console: /' "$dir/console" >&2
	else
		grep -a -E 'WARNING:|BUG:|Oops|Kernel panic|Call Trace|lockdep|hung_task|blocked for more' "$dir/console" |
			sed 's/^/console: /' >&2 || true
	fi
}

run() {
	local status=0 said
	start
	wait "$qemu" || status=$?
	qemu=
	wait "$viewer" || true
	viewer=
	show_console
	said=$(tr -d '\r' < "$dir/out" | sed -n 's/^guest-status \([0-9]*\)$/\1/p' | tail -n 1)
	[ -z "$said" ] || exit "$said"
	if [ "$status" = 124 ] || [ "$status" = 137 ]; then
		say "not finished after $seconds s"
		exit 124
	fi
	tail -n 20 "$dir/console" "$dir/qemu.out" >&2
	say "QEMU ended with status $status, and the guest without one"
	exit 125
}

while getopts 't:a:ivh' option; do
	case $option in
	t) seconds=$OPTARG ;;
	a) add+=("$OPTARG") ;;
	i) counting=1 ;;
	v) verbose=1 ;;
	h) usage 0 ;;
	*) usage 2 >&2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage 2 >&2
[ -r "$2" ] || { say "$2: cannot be read" && exit 2; }

need
trap at_exit EXIT
trap 'say "line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND"' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP
dir=$(mktemp -d "${TMPDIR:-/tmp}/inodax-guest.XXXXXX")
remove+=("$dir")
mkdir -p "$cache"
{
	flock 9
	get_kernel "$1"
	get_tools
} 9> "$cache/lock"
shift
make_programs "$dir/programs.cpio"
make_run "$@"
cat "$kernel_dir/modules.cpio" "$tools_image" "$dir/programs.cpio" "$dir/run.cpio" > "$dir/initrd"
say "kernel $(cat "$kernel_dir/release")"
run
