#!/bin/bash
# mount -t fuse.inodax, and a line of fstab. mount(8) cleans its environment, so that the daemon is looked for
# where the shell does by itself: in the mount namespace of this test it is put there.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need_fuse
need_private_mounts
[ -x /sbin/mount.fuse3 ] || [ -x /usr/sbin/mount.fuse3 ] || skip "mount.fuse3 is not installed"
make_pool 64
mkdir "$dir/bin"
ln -s "$(elf "$inodax")" "$dir/bin/inodax"
mount --bind "$dir/bin" /usr/local/sbin

# The daemon is in the background; it is gone when the pool is free again.
released() {
	"$fsck" -f "$pool" > "$dir/fsck.out" 2>&1
}

# use_and_unmount OPTION: of /proc/mounts.
use_and_unmount() {
	grep "^$pool $mnt fuse.inodax " /proc/mounts > "$dir/mounts" || fail "/proc/mounts: $(cat /proc/mounts)"
	grep -q "[ ,]$1[ ,]" "$dir/mounts" || fail "not mounted $1: $(cat "$dir/mounts")"
	same "type of the mount" "$(findmnt -n -o FSTYPE "$mnt")" fuse.inodax
	[ "$1" = ro ] || echo hello > "$mnt/file"
	same "contents" "$(cat "$mnt/file")" hello
	umount "$mnt"
	until_true 10 released || fail "fsck.inodax -f: $(cat "$dir/fsck.out")"
}

step "mount -t fuse.inodax"
mount -t fuse.inodax "$pool" "$mnt"
use_and_unmount rw
mount -t fuse.inodax -o ro "$pool" "$mnt"
use_and_unmount ro
mount -t fuse.inodax -o noatime,dax=never "$pool" "$mnt"
use_and_unmount noatime

step "fstab"
printf '%s %s fuse.inodax noatime,nofail,x-systemd.automount,dax=always 0 0\n' "$pool" "$mnt" > "$dir/fstab"
mount -T "$dir/fstab" "$mnt"
use_and_unmount noatime
printf '%s %s fuse.inodax defaults,noauto 0 0\n' "$pool" "$mnt" > "$dir/fstab"
mount -T "$dir/fstab" "$mnt"
use_and_unmount rw

step "errors reach mount"
status=0
mount -t fuse.inodax -o dax=sometimes "$pool" "$mnt" > "$dir/out" 2>&1 || status=$?
[ "$status" != 0 ] || fail "mount took dax=sometimes"
grep -q 'dax=sometimes: always, inode or never is needed' "$dir/out" || fail "mount said: $(cat "$dir/out")"
