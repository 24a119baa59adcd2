#!/bin/bash
# Paths that are no pools: one line each, with what it is and what is needed.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
make_pool_dir 64
pool=$pools/pool

step "files"
truncate -s 64M "$pool"
expect_error "$pool: not an inodax pool: magic found 00 00 .*needed \"inodaxSB\"" "$inodax" -f "$pool" "$mnt"
expect_error "$pool: not an inodax pool: magic found" "$ctl" info "$pool"
truncate -s 100000 "$dir/small"
expect_error "$dir/small: .*(size )?100000.*4194304" "$inodax" -f "$dir/small" "$mnt"
expect_error "$dir/none: No such file" "$inodax" -f "$dir/none" "$mnt"
expect_error "$dir/none: No such file" "$fsck" "$dir/none"

step "a pool that was cut short"
make_pool 64
truncate -s 32M "$pool"
expect_error "$pool: size 33554432 bytes, the pool in it needs 67108864" "$inodax" -f "$pool" "$mnt"

step "directories, fifos, devices"
expect_error "$dir: (a directory; a pool is a file|neither a file nor a device)" "$mkfs" -s 64m "$dir"
expect_error "$dir: a directory; a pool is a file or /dev/daxX.Y" "$inodax" -f "$dir" "$mnt"
expect_error "$dir: a directory" "$fsck" "$dir"
mkfifo "$dir/fifo"
expect_error "$dir/fifo: a fifo; a pool is a file or /dev/daxX.Y" "$inodax" -f "$dir/fifo" "$mnt"
expect_error "/dev/null: a character device that is not of class dax" "$inodax" -f /dev/null "$mnt"

step "mount points"
make_pool 64
: > "$dir/file"
expect_error "$dir/file: not a directory.* mount point must be one" "$inodax" -f "$pool" "$dir/file"
expect_error "$dir/nowhere: No such file" "$inodax" -f "$pool" "$dir/nowhere"
expect_error 'needed, 1 arguments? (was|were) given' "$inodax" "$pool"
expect_error 'dax=sometimes: always, inode or never is needed' "$inodax" -o dax=sometimes "$pool" "$mnt"
expect_error 'nonsense: unknown option' "$inodax" -o nonsense "$pool" "$mnt"
check_pool
