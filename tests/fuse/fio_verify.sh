#!/bin/bash
# fio writes and verifies: sequential and random, by system calls and by mapping, with and without the page
# cache.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need fio
need_fuse
size=$(scale 8m 32m 512m)

# run_fio ENGINE RW BLOCK_SIZE
run_fio() {
	step "dax=$dax $*"
	fio --name=verify --aux-path="$dir" --directory="$mnt" --ioengine="$1" --rw="$2" --bs="$3" --size="$size" --numjobs=2 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 --fsync_on_close=1 --group_reporting \
		> "$dir/fio.out" 2>&1 || fail "fio: $(cat "$dir/fio.out")"
	! grep -q 'verify:.*bad' "$dir/fio.out" || fail "fio: $(cat "$dir/fio.out")"
	rm "$mnt"/verify.*
}

for dax in always never; do
	make_pool "$(scale 128 256 2048)"
	mount_pool "dax=$dax"
	for bs in 4k 64k 1m; do
		run_fio psync write "$bs"
		run_fio psync randwrite "$bs"
	done
	run_fio mmap write 4k
	run_fio mmap randwrite 4k
	run_fio mmap randwrite 64k
	finish
done
