#!/bin/bash
# Sizes and other values on mkfs.inodax's command line: what is taken, and what is said of the rest.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
make_pool_dir 128
pool=$pools/pool

# makes BYTES OPTION...: a pool of this size.
makes() {
	local bytes=$1
	shift
	rm -f "$pool"
	"$mkfs" -q "$@" "$pool"
	same "size with $*" "$(stat -c %s "$pool")" "$bytes"
	check_pool
}

# refuses REGEX OPTION...: nothing is left behind.
refuses() {
	local regex=$1
	shift
	rm -f "$pool"
	expect_error "$regex" "$mkfs" "$@" "$pool"
	[ ! -e "$pool" ] || fail "a file is left of 'mkfs.inodax $*'"
}

step "sizes"
makes 4194304 -s 4194304
makes 4194304 -s 4m
makes 4194304 -s 4096K
makes 8388608 --size 8MiB
makes 16777216 --size=16mb -J 256k -u 4k -L "$(printf 'l%.0s' {1..32})"
refuses '--size 4095k?.*too small.*at least 4194304|--size 4193280: too small for a pool, at least 4194304' -s 4095k
refuses '--size 12q: unknown unit "q"; k, m, g, t or p is needed' -s 12q
refuses '--size 4mx: unknown unit "mx"' -s 4mx
refuses '--size -4m: a size is needed' --size=-4m
refuses '--size : a size is needed' --size=
refuses '--size m: a size is needed' -s m
refuses '--size 99999999999999999999: does not fit in 64 bits' -s 99999999999999999999
refuses '--size 99999999p: does not fit in 64 bits' -s 99999999p
refuses "$pool: does not exist; --size is needed"

step "others"
refuses '--journal 8k: a multiple of 4k from 256k to 64m is needed' -s 64m -J 8k
refuses '--journal 300001: a multiple of 4k' -s 64m -J 300001
refuses '--unit 8k: 4k, 2m or 1g' -s 64m -u 8k
refuses '--label l*: has 33 bytes, at most 32 are possible' -s 64m -L "$(printf 'l%.0s' {1..33})"
refuses '--uuid 1234: .*uuid.* or random' -s 64m -U 1234
expect_error 'one pool is needed, 0 (was|were) given' "$mkfs" -s 64m
expect_error 'one pool is needed, 2 (was|were) given' "$mkfs" -s 64m "$pool" "$pool"

step "a file that is there"
truncate -s 64M "$pool"
expect_error "--size 8388608: $pool has 67108864 bytes already" "$mkfs" -s 8m "$pool"
"$mkfs" -q -s 96m "$pool"
same "size of a file that was grown" "$(stat -c %s "$pool")" 100663296
check_pool
: > "$dir/empty"
expect_error "$dir/empty: is empty; --size is needed" "$mkfs" "$dir/empty"
