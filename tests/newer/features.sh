#!/bin/bash
# What the mount has with newer libfuse only: unnamed files that get a name (3.17) and the time of birth
# (3.18); and that shared mappings with dax=always, which older libfuse does not know of, are there too.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
need xfs_io
library_has() {
	grep -q "^#define HAVE_STRUCT_FUSE_LOWLEVEL_OPS_$1 1" "$top_builddir/config.h"
}
library_has TMPFILE || skip "needs libfuse 3.17 or later"
make_pool 64
mount_pool dax=always

step "the mount table"
grep "^$pool $mnt fuse.inodax rw," /proc/mounts || fail "/proc/mounts: $(grep " $mnt " /proc/mounts)"

step "an unnamed file, then named"
mkdir "$mnt/d"
xfs_io -T -c 'pwrite -q -S 0x75 0 5000' -c "flink $mnt/d/named" "$mnt/d"
same "size" "$(stat -c %s "$mnt/d/named")" 5000
same "other bytes in it" "$(tr -d u < "$mnt/d/named" | wc -c)" 0
free=$(stat -f -c %f "$mnt")
xfs_io -T -c 'pwrite -q 0 1m' "$mnt/d"
same "free blocks after one that was never named" "$(stat -f -c %f "$mnt")" "$free"

step "the time of birth"
before=$(date +%s)
echo born > "$mnt/born"
after=$(date +%s)
touch -d '2001-02-03 04:05:06 UTC' "$mnt/born"
birth=$(stat -c %W "$mnt/born")
stat -c 'born %w, modified %y' "$mnt/born"
if ! library_has STATX; then
	same "time of birth, with libfuse before 3.18" "$birth" 0
elif [ "$birth" -lt $((before - 1)) ] || [ "$birth" -gt "$after" ]; then
	fail "born at $birth, but made between $before and $after"
fi

step "a shared mapping"
truncate -s 1m "$mnt/mapped"
xfs_io -c 'mmap -rw 0 1m' -c 'mwrite -S 0x6d 0 1m' -c 'msync -s 0 1m' "$mnt/mapped"
same "bytes that read(2) does not find" "$(tr -d m < "$mnt/mapped" | wc -c)" 0
xfs_io -c 'pwrite -q -S 0x77 4096 4096' -c 'mmap -r 0 1m' -c 'mread -v 4096 16' "$mnt/mapped" > "$dir/mread"
grep -q '77 77 77 77' "$dir/mread" || fail "a mapping does not show what write(2) wrote: $(cat "$dir/mread")"

step "after a remount"
unmount_pool
check_pool
mount_pool dax=always
same "time of birth" "$(stat -c %W "$mnt/born")" "$birth"
same "bytes of the mapped file" "$(tr -d mw < "$mnt/mapped" | wc -c)" 0
finish
