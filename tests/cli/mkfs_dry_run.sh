#!/bin/bash
# mkfs.inodax -n tells what would be done and writes nothing, in whatever else it is told.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
make_pool_dir 64
pool=$pools/pool

# writes_nothing COMMAND...
writes_nothing() {
	stat -c '%i %s %.Y %.Z' "$pool" > "$dir/before" 2>&1 || true
	cp "$pool" "$pools/copy" 2> "$dir/err" || true
	"$@" > "$dir/out" 2>&1 || true
	stat -c '%i %s %.Y %.Z' "$pool" > "$dir/after" 2>&1 || true
	diff "$dir/before" "$dir/after"
	[ ! -e "$pool" ] || cmp "$pool" "$pools/copy"
}

step "no file yet"
writes_nothing "$mkfs" -n -s 64m "$pool"
grep -q 'would be created as an inodax pool of 64 MiB' "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
[ ! -e "$pool" ] || fail "-n made $pool"

step "a file"
truncate -s 64M "$pool"
writes_nothing "$mkfs" -n "$pool"
grep -qx 'nothing was written' "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
writes_nothing "$mkfs" -n -s 128m "$pool"
grep -qx 'nothing was written' "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"

step "a pool"
make_pool 64
writes_nothing "$mkfs" -n "$pool"
grep -q 'contains an inodax pool' "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
writes_nothing "$mkfs" -n -f "$pool"
grep -q 'would be overwritten' "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
