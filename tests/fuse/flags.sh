#!/bin/bash
# Inode flags and projects: lsattr, chattr and xfs_io; immutable and append-only files; dax by file.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need lsattr chattr
need_fuse
make_pool 64
mount_pool dax=inode
echo line > "$mnt/file"

# flags FILE: letters that are set.
flags() {
	lsattr -d "$1" | cut -d ' ' -f 1 | tr -d -
}

# denied COMMAND...
denied() {
	! "$@" 2> "$dir/err" || fail "'$*' succeeded"
	grep -q 'Operation not permitted' "$dir/err" || fail "'$*': $(cat "$dir/err")"
}

step "immutable"
same "flags of a new file" "$(flags "$mnt/file")" ""
chattr +i "$mnt/file"
same "flags" "$(flags "$mnt/file")" i
denied sh -c "echo x >> '$mnt/file'"
denied rm -f "$mnt/file"
denied mv "$mnt/file" "$mnt/other"
denied ln "$mnt/file" "$mnt/other"
denied chmod 600 "$mnt/file"
denied truncate -s 0 "$mnt/file"
chattr -i "$mnt/file"

step "append-only"
chattr +a "$mnt/file"
echo more >> "$mnt/file"
denied sh -c ": > '$mnt/file'"
denied truncate -s 0 "$mnt/file"
denied rm -f "$mnt/file"
same "contents" "$(cat "$mnt/file")" $'line\nmore'
chattr -a "$mnt/file"

step "others, kept over a remount"
chattr +dAS "$mnt/file"
mkdir "$mnt/dir"
chattr +D "$mnt/dir"
! chattr +c "$mnt/file" 2> "$dir/err" || fail "a flag that is not kept was accepted"
if command -v xfs_io > "$dir/out"; then
	xfs_io -c 'chattr +x' -c 'chproj 42' "$mnt/file"
	same "project" "$(xfs_io -c lsproj "$mnt/file")" 'projid = 42'
	xfs_io -c lsattr "$mnt/file" | grep -q '^[^ ]*x' || fail "xfs_io lsattr: $(xfs_io -c lsattr "$mnt/file")"
fi
lsattr -p -d "$mnt/file" "$mnt/dir" > "$dir/before"
finish
mount_pool dax=inode
lsattr -p -d "$mnt/file" "$mnt/dir" > "$dir/after"
diff "$dir/before" "$dir/after"
same "contents" "$(cat "$mnt/file")" $'line\nmore'
finish
