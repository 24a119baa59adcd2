#!/bin/bash
# One writer a pool: everybody else is refused and told who it is; who only looks is not.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
make_pool 64
mount_pool
echo hello > "$mnt/file"
mkdir "$dir/other"

holder="$pool: in use by pid $daemon \(.*inodax.*\)"
expect_error "$holder" "$inodax" -f "$pool" "$dir/other"
expect_error "$holder" "$inodax" "$pool" "$dir/other"
expect_error "$holder" "$inodax" -f -o ro "$pool" "$dir/other"
expect_error "$holder" "$fsck" -f "$pool"
for options in '' -f -n -nf; do
	expect_error "$pool: in use by process $daemon" "$mkfs" $options "$pool"
done
"$ctl" info "$pool" > "$dir/info"
grep -q "mounted by process $daemon" "$dir/info" || fail "inodaxctl info: $(cat "$dir/info")"
same "contents" "$(cat "$mnt/file")" hello
unmount_pool

step "a killed daemon leaves no lock"
mount_pool
kill_daemon
"$fsck" -f "$pool"
mount_pool
same "contents" "$(cat "$mnt/file")" hello
finish
