#!/bin/bash
# mkfs.inodax does not overwrite what somebody may still want: other filesystems, swap, partition tables,
# pools.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
make_pool_dir 512
pool=$pools/pool

make_gpt() {
	echo 'label: gpt' | sfdisk -q "$pool"
}

# keeps WHAT REGEX MIB COMMAND...: the command makes WHAT in $pool; mkfs.inodax finds it and leaves it.
keeps() {
	local what=$1 regex=$2 mib=$3
	shift 3
	step "$what"
	if ! command -v "$1" > "$dir/out"; then
		printf 'left out: %s is not installed\n' "$1"
		return 0
	fi
	rm -f "$pool"
	truncate -s "${mib}M" "$pool"
	"$@" > "$dir/out" 2>&1 || fail "$*: $(cat "$dir/out")"
	cp --sparse=always "$pool" "$pools/copy"
	expect_error "$pool: contains .*$regex.*use -f to overwrite" "$mkfs" "$pool"
	cmp "$pool" "$pools/copy"
	"$mkfs" -q -f "$pool"
	check_pool
	# What was there is not found beside the pool.
	expect_error "$pool: contains an inodax pool" "$mkfs" "$pool"
}

keeps ext4 'ext4.*label data' 64 mkfs.ext4 -q -L data "$pool"
keeps xfs xfs 320 mkfs.xfs -q "$pool"
keeps swap swap 64 mkswap "$pool"
if command -v sfdisk > "$dir/out"; then
	keeps "a partition table" 'partition table \(gpt\)' 64 make_gpt
fi
keeps "an inodax pool" 'an inodax pool \(label "mine"' 64 "$mkfs" -q -L mine "$pool"
