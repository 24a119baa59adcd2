#!/bin/bash
# Mount, do a little of everything, mount again, find it all; what inodaxctl and the kernel say of the mount.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
make_pool 64 --label basic
mount_pool

step "a little of everything"
mkdir -p "$mnt/a/b/c"
echo hello > "$mnt/a/file"
echo again >> "$mnt/a/file"
ln "$mnt/a/file" "$mnt/a/b/link"
ln -s ../file "$mnt/a/b/symlink"
mkfifo "$mnt/a/fifo"
mv "$mnt/a/b/link" "$mnt/a/b/c/moved"
chmod 640 "$mnt/a/file"
touch -d '2001-02-03 04:05:06.123456789 UTC' "$mnt/a/file"
head -c 300000 /dev/zero | tr '\0' x > "$mnt/big"
truncate -s 100001 "$mnt/big"
name=$(printf 'n%.0s' {1..255})
echo long > "$mnt/$name"
! (echo long > "$mnt/${name}n") 2> "$dir/err" || fail "a name of 256 bytes was accepted"
grep -q 'File name too long' "$dir/err" || fail "a name of 256 bytes: $(cat "$dir/err")"

look() {
	same "contents" "$(cat "$mnt/a/file")" $'hello\nagain'
	same "contents through a symbolic link" "$(cat "$mnt/a/b/symlink")" $'hello\nagain'
	same "mode, links, size, mtime" "$(stat -c '%a %h %s %.Y' "$mnt/a/file")" "640 2 12 981173106.123456789"
	same "inode of a hard link" "$(stat -c %i "$mnt/a/b/c/moved")" "$(stat -c %i "$mnt/a/file")"
	same "type of a fifo" "$(stat -c %F "$mnt/a/fifo")" fifo
	same "links of a directory" "$(stat -c %h "$mnt/a")" 3
	same "size after truncate" "$(stat -c %s "$mnt/big")" 100001
	same "contents of a file with a long name" "$(cat "$mnt/$name")" long
	same "bytes of the big file" "$(tr -d x < "$mnt/big" | wc -c)" 0
}
look

step "what is said of the mount"
grep -q "^$pool $mnt fuse.inodax rw," /proc/mounts || fail "/proc/mounts: $(grep " $mnt " /proc/mounts)"
same "block size" "$(stat -f -c %S "$mnt")" 4096
"$ctl" list > "$dir/list"
grep -q "$daemon .*$pool on $mnt" "$dir/list" || fail "inodaxctl list: $(cat "$dir/list")"
"$ctl" info "$mnt" > "$dir/info"
grep -qx "label *basic" "$dir/info" || fail "inodaxctl info: $(cat "$dir/info")"
grep -q "mounted by process $daemon" "$dir/info" || fail "inodaxctl info: $(cat "$dir/info")"

step "after a remount"
unmount_pool
check_pool
mount_pool
look
rm -r "$mnt/a"
[ ! -e "$mnt/a" ] || fail "a removed directory is there"
finish
