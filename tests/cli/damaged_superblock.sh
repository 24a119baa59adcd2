#!/bin/bash
# Superblocks that do not verify: one is replaced by the other, and said so; both are an error. Newer format
# versions.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
last=$((64 * 256 - 1))

# overwrite BLOCK: with noise, but for the magic number.
overwrite() {
	head -c 4000 /dev/urandom | dd of="$pool" bs=1 seek=$(($1 * 4096 + 8)) conv=notrunc status=none
}

step "the first copy is damaged"
make_pool 64
overwrite 0
"$ctl" info "$pool" > "$dir/info"
grep -q 'superblock is damaged, its backup was read' "$dir/info" || fail "inodaxctl info: $(cat "$dir/info")"
status=0
"$fsck" -f "$pool" > "$dir/fsck.out" 2>&1 || status=$?
same "exit status of fsck.inodax" "$status" 4
grep -q super-primary "$dir/fsck.out" || fail "fsck.inodax: $(cat "$dir/fsck.out")"
if [ -c /dev/fuse ] && [ "$(id -u)" = 0 ]; then
	mount_pool
	grep -q 'superblock is damaged, the backup .* is used' "$log" || fail "the daemon said: $(cat "$log")"
	echo works > "$mnt/file"
	same "contents" "$(cat "$mnt/file")" works
	unmount_pool
fi

step "the backup is damaged"
make_pool 64
overwrite $last
status=0
"$fsck" -f "$pool" > "$dir/fsck.out" 2>&1 || status=$?
same "exit status of fsck.inodax" "$status" 4
grep -q super-backup "$dir/fsck.out" || fail "fsck.inodax: $(cat "$dir/fsck.out")"

step "both are damaged"
make_pool 64
overwrite 0
overwrite $last
both="$pool: superblock at byte 0 has crc [0-9a-f]{8}, needed [0-9a-f]{8},"
both+=" and the copy at byte $((last * 4096)) has crc"
expect_error "$both" "$inodax" -f "$pool" "$mnt"
expect_error "$both" "$ctl" info "$pool"
expect_error "$pool: contains a damaged or newer inodax pool; use -f" "$mkfs" "$pool"
status=0
"$fsck" -f "$pool" > "$dir/fsck.out" 2>&1 || status=$?
[ "$status" = 4 ] || [ "$status" = 8 ] || fail "fsck.inodax: status $status: $(cat "$dir/fsck.out")"

step "a newer format"
make_pool 64
"$(helper cli/set_version)" "$pool" 2
newer="$pool: format version 2, needed 1"
expect_error "$newer" "$inodax" -f "$pool" "$mnt"
expect_error "$newer" "$ctl" info "$pool"
cp "$pool" "$pools/before"
expect_error "$pool: contains a damaged or newer inodax pool; use -f" "$mkfs" "$pool"
cmp "$pool" "$pools/before"
"$mkfs" -q -f "$pool"
check_pool
