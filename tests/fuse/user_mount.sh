#!/bin/bash
# An ordinary user makes a pool, mounts it, works and unmounts, with fusermount3 and without any right.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
need fusermount3
make_pool_dir 64

as_user=()
if [ "$(id -u)" = 0 ]; then
	need setpriv
	as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	# The user may not reach the build directory.
	mkdir "$dir/bin"
	for program in "$inodax" "$mkfs" "$fsck"; do
		cp "$(elf "$program")" "$dir/bin/"
	done
	chown 65534:65534 "$pools" "$mnt"
	inodax=$dir/bin/inodax mkfs=$dir/bin/mkfs.inodax fsck=$dir/bin/fsck.inodax
	"${as_user[@]}" "$mkfs" --version > "$dir/out" || skip "user 65534 cannot run programs in $dir"
	"${as_user[@]}" fusermount3 -V > "$dir/out" || skip "user 65534 cannot run fusermount3"
fi
user() {
	"${as_user[@]}" "$@"
}
uid=$(user id -u)

test_cleanup() {
	[ ! -d "$dir/dev" ] || umount -l /dev/fuse "$dir/dev"
}

# Where there is no udev, nobody has given the device to all users.
if [ "$(id -u)" = 0 ] && ! user test -w /dev/fuse; then
	need_private_mounts
	mkdir "$dir/dev"
	mount -t tmpfs -o mode=755 inodax-test "$dir/dev"
	mknod -m 666 "$dir/dev/fuse" c 10 229
	mount --bind "$dir/dev/fuse" /dev/fuse
fi
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not setuid root"

step "as user $uid"
pool=$pools/pool
user "$mkfs" --quiet --size 64m "$pool"
# In the background, as users do: mounted when it returns.
user "$inodax" "$pool" "$mnt" > "$dir/mount.out" 2>&1 || fail "inodax: $(cat "$dir/mount.out")"
mounted || fail "inodax returned 0 and $mnt is not mounted"
grep " $mnt " /proc/mounts > "$dir/mounts"
grep -q "fuse.inodax rw,nosuid,nodev.*user_id=$uid" "$dir/mounts" || fail "mounted as $(cat "$dir/mounts")"
user mkdir "$mnt/mine"
user sh -c "seq 1000 > '$mnt/mine/file'"
user sh -c "cd '$mnt/mine' && tar -cf ../t.tar file && rm file && tar -xf ../t.tar"
same "contents" "$(user tail -n 1 "$mnt/mine/file")" 1000
same "owner" "$(user stat -c %u "$mnt/mine/file")" "$uid"
! user chown 0 "$mnt/mine/file" 2> "$dir/err" || fail "an ordinary user gave a file away"
if [ "$(id -u)" = 0 ]; then
	! ls "$mnt" > "$dir/err" 2>&1 || fail "root sees a user's mount without allow_other"
fi
user fusermount3 -u "$mnt"

step "what is left"
# The daemon is not this shell's child; fsck is refused until it has let go of the pool.
released() {
	user "$fsck" -f "$pool" > "$dir/fsck.out" 2>&1
}
until_true 10 released || fail "fsck.inodax -f: $(cat "$dir/fsck.out")"
user "$inodax" "$pool" "$mnt"
same "contents after a remount" "$(user wc -l < <(user cat "$mnt/mine/file"))" 1000
user fusermount3 -u "$mnt"
until_true 10 released || fail "fsck.inodax -f: $(cat "$dir/fsck.out")"
