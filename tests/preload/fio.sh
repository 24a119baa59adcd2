#!/bin/bash
# fio, unmodified, maps files of the mount under inodax-run: all of them directly, whatever the size of the pool's
# pages, and what it wrote it reads again.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need fio
size=$(scale 32 128 1024)

# fio_ok WHAT OPTION...: it runs, verifies, and all it maps is direct.
fio_ok() {
	local what=$1
	shift
	step "huge=$huge, $what"
	: > "$dir/explained"
	"$run" --explain="$dir/explained" fio --name=verify --aux-path="$dir" --directory="$mnt" --ioengine=mmap --bs=4k \
		--verify_fatal=1 --do_verify=1 --group_reporting "$@" > "$dir/fio.out" 2>&1 ||
		fail "fio $what: $(cat "$dir/fio.out")"
	! grep -q 'verify:.*bad' "$dir/fio.out" || fail "fio $what: $(cat "$dir/fio.out")"
	all_direct "$dir/explained"
	nothing_held "fio $what"
}

for huge in never always; do
	mount_tmpfs "$huge" $((size * 2 + 512))
	make_pool $((size + 256))
	mount_pool
	for rw in write randwrite randrw; do
		fio_ok "$rw, one job" --rw="$rw" --verify=crc32c --size="${size}m" --randrepeat=0
		rm "$mnt"/*
		fio_ok "$rw, four jobs, a file each" --rw="$rw" --verify=crc32c --size="$((size / 4))m" --numjobs=4 \
			--randrepeat=0
		rm "$mnt"/*
	done
	# Several jobs that write one file write the same: the offset of each block. (With an offset to start from,
	# fio's mmap engine maps another part of the file than it checks, on every filesystem.)
	for rw in write randwrite; do
		fio_ok "$rw, four jobs, one file" --rw="$rw" --verify=pattern --verify_pattern=%o --size="${size}m" \
			--numjobs=4 --filename=shared
		rm "$mnt/shared"
	done
	fio_ok "write, for four jobs to read" --rw=write --verify=crc32c --size="${size}m" --filename=read
	for rw in read randread; do
		fio_ok "$rw, four jobs, one file" --rw="$rw" --verify=crc32c --size="${size}m" --numjobs=4 \
			--filename=read
	done
	step "huge=$huge, read(2) without inodax-run of what was stored"
	fio --name=verify --aux-path="$dir" --filename="$mnt/read" --ioengine=psync --bs=4k --rw=read --verify=crc32c \
		--verify_fatal=1 --size="${size}m" > "$dir/fio.out" 2>&1 || fail "fio: $(cat "$dir/fio.out")"
	rm "$mnt"/*
	fio_ok "many files" --rw=randwrite --verify=crc32c --size="${size}m" --nrfiles=16
	finish
	unmount_tmpfs
done
