#!/bin/bash
# POSIX ACLs: who may do what by them, mode bits from the mask, inheritance of default ACLs.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_root
need setfacl getfacl setpriv
need_fuse
make_pool 64
mount_pool
chmod 755 "$mnt"

# as UID GID COMMAND...
as() {
	local uid=$1 gid=$2
	shift 2
	setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@" 2> "$dir/err"
}

step "access ACLs"
echo secret > "$mnt/file"
chmod 600 "$mnt/file"
! as 1001 1001 cat "$mnt/file" || fail "a file of mode 600 was read by another user"
setfacl -m u:1001:r,g:2002:rw "$mnt/file"
same "read by a named user" "$(as 1001 1001 cat "$mnt/file")" secret
! as 1001 1001 sh -c "echo x >> '$mnt/file'" || fail "a named user with r wrote"
as 3003 2002 sh -c "echo more >> '$mnt/file'" || fail "a named group with rw could not write: $(cat "$dir/err")"
! as 3003 3003 cat "$mnt/file" || fail "somebody without an entry read"
same "mode shows the mask" "$(stat -c %a "$mnt/file")" 660
chmod 640 "$mnt/file"
! as 3003 2002 sh -c "echo x >> '$mnt/file'" || fail "chmod g=r did not mask a named group"
same "effective rights" "$(getfacl -cp "$mnt/file" | grep -c 'effective:r--')" 1
setfacl -b "$mnt/file"
! as 1001 1001 cat "$mnt/file" || fail "an ACL works after it was removed"

step "default ACLs"
mkdir "$mnt/dir"
setfacl -d -m u:1001:rwx,g::rx,o::- "$mnt/dir"
(umask 077 && mkdir "$mnt/dir/sub" && echo x > "$mnt/dir/file")
getfacl -cp "$mnt/dir/sub" > "$dir/sub.acl"
grep -qx 'default:user:1001:rwx' "$dir/sub.acl" || fail "a directory did not inherit: $(cat "$dir/sub.acl")"
grep -qx 'user:1001:rwx' "$dir/sub.acl" || fail "a directory did not get access: $(cat "$dir/sub.acl")"
getfacl -cp "$mnt/dir/file" > "$dir/file.acl"
grep -q '^user:1001:rwx.*effective:rw-' "$dir/file.acl" || fail "a file did not inherit: $(cat "$dir/file.acl")"
! grep -q default "$dir/file.acl" || fail "a file has a default ACL: $(cat "$dir/file.acl")"
same "mode of a file under a default ACL" "$(stat -c %a "$mnt/dir/file")" 660
chmod 755 "$mnt/dir"
same "read by inheritance" "$(as 1001 1001 cat "$mnt/dir/file")" x
setfacl -k "$mnt/dir"
(umask 077 && echo x > "$mnt/dir/plain")
same "mode without a default ACL" "$(stat -c %a "$mnt/dir/plain")" 600

step "after a remount"
getfacl -R "$mnt/dir" > "$dir/before" 2> "$dir/err"
finish
mount_pool
getfacl -R "$mnt/dir" > "$dir/after" 2> "$dir/err"
diff "$dir/before" "$dir/after"
finish
