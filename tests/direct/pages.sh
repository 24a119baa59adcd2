#!/bin/bash
# How a file is mapped, by the size of the pages that the pool's filesystem gives: faults, page tables, references. On
# a tmpfs with huge pages all of a file is mapped by 2 MiB; on a plain one by 4 KiB, and the references are as many.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

size=$(scale 64 1024 1024)

# expect WORD: the next line of the client starts with it; $value is the rest.
expect() {
	local word
	read -r -t 120 word value <&"${CLIENT[0]}" || fail "the client says nothing more: $(cat "$dir/client")"
	same "what the client says" "$word" "$1"
}

go_on() {
	printf '\n' >&"${CLIENT[1]}"
}

# pages SHIFT MOST: map and touch a file of $size MiB, mapped with entries of 2^SHIFT, by at most MOST faults; and back.
pages() {
	local shift=$1 most=$2 kib=$((size * 1024)) all=$((size * mib >> $1))
	mount_pool
	coproc CLIENT { exec "$client" faults "$mnt/f" $((size * mib)) 2> "$dir/client"; }
	# shellcheck disable=SC2153 # coproc sets it
	client_pid=$CLIENT_PID
	expect faults
	printf '%s MiB: %s faults\n' "$size" "$value"
	[ "$value" -le "$most" ] || fail "touching $size MiB took $value faults, $most are enough"
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

need_huge_pages
step "a plain tmpfs"
mount_tmpfs never $((size + 512))
make_pool $((size + 256))
need_small_units
pages 12 $((size * 256 + 1000))
unmount_tmpfs

step "a tmpfs with huge pages"
mount_tmpfs always $((size + 512))
make_pool $((size + 256))
pages 21 600
unmount_tmpfs
