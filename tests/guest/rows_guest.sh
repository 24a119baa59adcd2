#!/bin/bash
# What programs see of mappings of the kernel's own DAX files, by the program that looks at those of inodax
# (tests/preload/rows.sh), and of those of a pool in such a file: both sides of what doc/mirror.md compares. Runs in a
# guest, as
#
#	guest.sh 7.2@trixie-backports tests/guest/rows_guest.sh [ext4|xfs|inodax]...
#
# Kernels before 6.15 do not count what is resident of DAX files, and before 6.2 have other faults after mprotect().
# shellcheck disable=SC2154	# init.sh sets it
# shellcheck source=tests/guest/pools.sh
. "$top_srcdir/tests/guest/pools.sh"
groups=(holes sizes lives ends writes flags private parts advice hands others)
failed=()

# rows_of GROUP COMMAND...: all are as they have to be.
rows_of() {
	local group=$1
	shift
	if "$@" > /tmp/rows.out 2>&1; then
		printf 'ok: %s %s: %s\n' "$kind" "$group" "$(paste -s -d ' ' /tmp/rows.out)"
	else
		printf 'not ok: %s %s\n' "$kind" "$group"
		grep -v -x '5\.[0-9b]*' /tmp/rows.out | sed 's/^/   /'
		failed+=("$kind:$group")
	fi
}

is_mounted() {
	grep -q ' /mnt/inodax ' /proc/mounts
}

mount_inodax() {
	local tries=100
	use_kind ext4
	mkdir -p /mnt/inodax
	"$top_builddir/mkfs.inodax" --quiet --size 64m /mnt/ext4/pool || guest_fail "mkfs.inodax: status $?"
	"$top_builddir/inodax" -f -o shm=/tmp/shm /mnt/ext4/pool /mnt/inodax > /tmp/daemon.log 2>&1 &
	until is_mounted; do
		((tries-- > 0)) || guest_fail "not mounted: $(cat /tmp/daemon.log)"
		sleep 0.2
	done
}

# But with MAP_SYNC, where the kernel refuses, and where the end of a file was touched (tests/preload/rows.sh).
directly() {
	[ "$1" != ends ] || return 0
	! grep -E 'not direct|cached' /tmp/explained | grep -v -E 'not direct: (MAP_|a flag|Invalid|Permission)' ||
		failed+=("inodax:$1: not direct")
}

[ $# -gt 0 ] || set -- ext4 xfs inodax
for kind; do
	case $kind in
	inodax)	mount_inodax ;;
	*)	use_kind "$kind" ;;
	esac
	for group in "${groups[@]}"; do
		case $kind in
		inodax)
			: > /tmp/explained
			rows_of "$group" "$top_builddir/inodax-run" --explain=/tmp/explained \
				"$top_builddir/tests/preload/rows" "$group" /mnt/inodax/file /tmp/other direct-dax large
			directly "$group" ;;
		*)
			rows_of "$group" \
				"$top_builddir/tests/preload/rows" "$group" "/mnt/$kind/file" /tmp/other dax large ;;
		esac
	done
done
! is_mounted || umount /mnt/inodax
[ ${#failed[@]} = 0 ] || { printf 'FAIL: %s\n' "${failed[*]}" && exit 1; }
