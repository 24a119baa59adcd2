#!/bin/bash
# A block device is not a pool; of a pmem device both ways to use it are told. The device stays as it is.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need losetup
make_pool_dir 64
loop=

test_cleanup() {
	[ -z "$loop" ] || losetup -d "$loop"
}

step "a loop device"
make_pool 64
cp "$pool" "$pools/before"
loop=$(losetup -f --show "$pool" 2> "$dir/err") || { loop=; skip "no loop device: $(cat "$dir/err")"; }
expect_error "$loop: a block device; a pool is a file or /dev/daxX.Y" "$inodax" -f "$loop" "$mnt"
expect_error "$loop: a block device" "$mkfs" -f "$loop"
expect_error "$loop: a block device" "$fsck" -f "$loop"
expect_error "$loop: a block device" "$ctl" info "$loop"
cmp "$pool" "$pools/before"

pmem=$(find /dev -maxdepth 1 -name 'pmem*' -type b -print -quit)
if [ -n "$pmem" ]; then
	step "$pmem"
	expect_error "$pmem: a block device; either use a file on it .*mount -o dax.*ndctl create-namespace" \
		"$mkfs" -f "$pmem"
fi
