#!/bin/bash
# How a file is mapped, by the size of the pages that the pool's filesystem gives: faults, page tables, references. On
# a tmpfs with huge pages all of a file is mapped by 2 MiB; on a plain one by 4 KiB, and the references are as many.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need python3
need_fuse
client=$(helper direct/map_client)
mib=$(scale 64 1024 1024)

test_cleanup() {
	umount "$dir/plain" "$dir/huge" 2>> "$log" || true
}

# expect WORD: the next line of the client starts with it; $value is the rest.
expect() {
	local word
	read -r -t 120 word value <&"${CLIENT[0]}" || fail "the client says nothing more: $(cat "$dir/client")"
	same "what the client says" "$word" "$1"
}

go_on() {
	printf '\n' >&"${CLIENT[1]}"
}

# pages SHIFT MOST: map and touch a file of $mib, mapped with entries of 2^SHIFT, by at most MOST faults; and back.
pages() {
	local shift=$1 most=$2 kib=$((mib * 1024)) all=$((mib * 1048576 >> $1))
	mount_pool
	coproc CLIENT { exec "$client" faults "$mnt/f" $((mib * 1048576)) 2> "$dir/client"; }
	# shellcheck disable=SC2153 # coproc sets it
	client_pid=$CLIENT_PID
	expect faults
	printf '%s MiB: %s faults\n' "$mib" "$value"
	[ "$value" -le "$most" ] || fail "touching $mib MiB took $value faults, $most are enough"
	expect pmd_kib
	same "KiB that are mapped by 2 MiB" "$value" $((shift == 21 ? kib : 0))
	expect rss_kib
	same "KiB that are mapped" "$value" "$kib"
	expect page_shift
	same "size of what is counted as one reference" "$value" "$shift"
	expect mapped
	same "references" "$(counted refcount)" "$all"
	go_on
	expect half
	same "references after half was unmapped" "$(counted refcount)" $((all / 2))
	go_on
	wait_ended "$client_pid" || fail "the client does not end"
	same "exit status of the client: $(cat "$dir/client")" "$ended" 0
	same "references after all was unmapped" "$(counted refcount)" 0
	finish
}

if grep -Eq '\[(force|deny)\]' /sys/kernel/mm/transparent_hugepage/shmem_enabled; then
	skip "shmem_enabled decides for all tmpfs: $(cat /sys/kernel/mm/transparent_hugepage/shmem_enabled)"
fi
step "a plain tmpfs"
mkdir "$dir/plain"
mount -t tmpfs -o "size=$((mib + 512))m,huge=never" inodax-test "$dir/plain" || skip "no tmpfs can be mounted"
pools=$dir/plain
make_pool $((mib + 256))
pages 12 $((mib * 256 + 1000))
umount "$dir/plain"

step "a tmpfs with huge pages"
mkdir "$dir/huge"
mount -t tmpfs -o "size=$((mib + 512))m,huge=always" inodax-test "$dir/huge" || skip "no tmpfs with huge pages can be mounted"
pools=$dir/huge
make_pool $((mib + 256))
pages 21 600
umount "$dir/huge"
pools=
