#!/bin/bash
# A read-only mount: everything can be read, every change is EROFS, and not one byte of the pool is different
# after it.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
make_pool 64
mount_pool
mkdir "$mnt/dir"
echo hello > "$mnt/dir/file"
ln -s file "$mnt/dir/link"
cp -r "$top_srcdir/lib/util" "$mnt/"
unmount_pool
cp "$pool" "$pools/before"

# refused COMMAND...
refused() {
	! "$@" 2> "$dir/err" || fail "'$*' succeeded on a read-only mount"
	grep -q 'Read-only file system' "$dir/err" || fail "'$*': $(cat "$dir/err")"
}

step "read-only mount"
mount_pool ro
diff -r "$top_srcdir/lib/util" "$mnt/util"
same "contents" "$(cat "$mnt/dir/link")" hello
grep " $mnt " /proc/mounts | grep -q 'fuse.inodax ro,' || fail "/proc/mounts: $(grep " $mnt " /proc/mounts)"
refused touch "$mnt/new"
refused mkdir "$mnt/new"
refused rm "$mnt/dir/file"
refused rmdir "$mnt/dir"
refused mv "$mnt/dir/file" "$mnt/dir/other"
refused ln "$mnt/dir/file" "$mnt/dir/other"
refused ln -s x "$mnt/dir/other"
refused chmod 600 "$mnt/dir/file"
refused touch -m "$mnt/dir/file"
refused truncate -s 0 "$mnt/dir/file"
refused dd if=/dev/zero of="$mnt/dir/file" bs=1 count=1 conv=notrunc
! command -v setfattr > "$dir/out" || refused setfattr -n user.a -v b "$mnt/dir/file"
unmount_pool
cmp "$pool" "$pools/before"
check_pool

step "of a pool that was not unmounted cleanly"
mount_pool
echo unclean > "$mnt/dir/unclean"
kill_daemon
mount_pool ro
same "contents after replay" "$(cat "$mnt/dir/unclean")" unclean
refused touch "$mnt/new"
unmount_pool
"$fsck" "$pool" > "$dir/out" 2>&1 || fail "fsck.inodax: $(cat "$dir/out")"
mount_pool
same "contents" "$(cat "$mnt/dir/unclean")" unclean
finish
