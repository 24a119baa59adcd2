#!/bin/bash
# A full pool: writes fail with ENOSPC, removing works, every block comes back; again and again, by data and
# by inodes. INODAX_TEST_ROUNDS sets how often.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_fuse
rounds=${INODAX_TEST_ROUNDS:-$(scale 3 10 100)}
make_pool "$(scale 8 8 16)"
mount_pool

free_blocks() {
	stat -f -c '%f %a' "$mnt"
}

# full COMMAND...: it fails for want of space.
full() {
	! "$@" > "$dir/out" 2> "$dir/err" || fail "'$*' succeeded on a pool that should be full"
	grep -q 'No space left on device' "$dir/err" || fail "'$*': $(head -n 3 "$dir/err")"
}

# One file, then what still fits in small ones.
fill_by_data() {
	full dd if=/dev/zero of="$mnt/work/big" bs=1M
	full sh -c "while :; do dd if=/dev/zero bs=4k count=1 status=none >> '$mnt/work/small' || exit 1; done"
}

# xargs stops at the first touch that fails.
fill_by_inodes() {
	full sh -c "cd '$mnt/work' && seq 1000000 | xargs -n 2000 sh -c 'touch \"\$@\" || exit 255' touch"
}

mixed_fill() {
	full sh -c "i=0; while :; do i=\$((i + 1)); cp -r '$top_srcdir/lib' '$mnt/work/'\$i || exit 1; done"
}

# The pool is full; what takes space away from nobody has to work.
use_full_pool() {
	local name
	name=$(find "$mnt/work" -type f -print -quit)
	truncate -s 0 "$name"
	chmod 600 "$name"
	touch "$name"
	rm "$name"
}

# The inode table keeps the blocks it has grown to: the first round shows how many.
before=
for ((round = 0; round <= rounds; round++)); do
	for fill in fill_by_inodes fill_by_data mixed_fill; do
		mkdir "$mnt/work"
		$fill
		use_full_pool
		rm -r "$mnt/work"
	done
	after=$(free_blocks)
	printf 'round %d: free blocks %s\n' "$round" "$after"
	if [ "$fstyp" = inodax ]; then
		[ -z "$before" ] || same "free blocks after round $round" "$after" "$before"
		before=$after
	fi
	if ((round % 5 == 0)); then
		unmount_pool
		check_pool
		mount_pool
		[ "$fstyp" != inodax ] || same "free blocks after a remount" "$(free_blocks)" "$before"
	fi
done
echo "a file fits again" > "$mnt/file"
finish
