#!/bin/bash
# A directory of many files: made, listed, looked up, thinned out, emptied. Prints time and memory for each
# step. The long form does the same on fuse2fs, and on inodax once more, with fewer files: fuse2fs looks through the
# whole directory at each of them, so that its time grows with the square of their number.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_fuse
count=$(scale 10000 100000 1000000)
make_pool "$(scale 256 512 4096)"
mount_pool

# timed PID TEXT COMMAND...: PID is the daemon's, none if empty.
timed() {
	local pid=$1 text=$2 start=$EPOCHREALTIME rss=
	shift 2
	"$@"
	[ -z "$pid" ] || rss=$(awk '/^RssAnon/ { printf ", daemon %.1f MiB", $2 / 1024 }' "/proc/$pid/status")
	awk -v a="$start" -v b="$EPOCHREALTIME" -v text="$text" -v rss="$rss" \
		'BEGIN { printf "%-28s %7.2f s%s\n", text, b - a, rss }'
}

make_files() {
	(cd "$1" && seq -f 'file-%.0f' "$count" | xargs touch)
}

names() {
	find "$1" -mindepth 1 -printf x | wc -c
}

list_files() {
	same "names" "$(names "$1")" "$count"
	same "different names" "$(find "$1" -type f -name 'file-*' -printf '%f\n' | sort -u | wc -l)" "$count"
}

look_up() {
	(cd "$1" && seq -f 'file-%.0f' 1 $((count / 1000)) "$count" | xargs stat -c %s > "$dir/sizes")
	same "files found by name" "$(wc -l < "$dir/sizes")" 1000
	! stat "$1/file-$((count + 1))" > "$dir/out" 2>&1 || fail "a name is found that was not made"
}

thin_out() {
	(cd "$1" && seq -f 'file-%.0f' 1 2 "$count" | xargs rm)
	same "names after every other was removed" "$(names "$1")" $((count / 2))
	(cd "$1" && seq -f 'new-%.0f' 1 2 "$count" | xargs touch)
	same "names after as many were made" "$(names "$1")" "$count"
}

empty() {
	find "$1" -type f -delete
	rmdir "$1"
}

# work PID MOUNTPOINT
work() {
	mkdir "$2/many"
	timed "$1" "make $count" make_files "$2/many"
	timed "$1" "list twice" list_files "$2/many"
	timed "$1" "look up 1000" look_up "$2/many"
	timed "$1" "remove half, make half" thin_out "$2/many"
	timed "$1" "remove $count" empty "$2/many"
}

step "$fstyp"
work "$daemon" "$mnt"
mkdir "$mnt/many"
make_files "$mnt/many"
finish
mount_pool
timed "$daemon" "list twice after a remount" list_files "$mnt/many"
finish

if [ "${INODAX_TEST_FULL:-0}" = 1 ] && command -v fuse2fs > "$dir/out"; then
	count=${INODAX_TEST_FUSE2FS_FILES:-50000}
	step "$fstyp, $count files"
	rm "$pool"
	make_pool 4096
	mount_pool
	work "$daemon" "$mnt"
	finish
	step "fuse2fs, $count files"
	rm "$pool"
	truncate -s 4G "$pool"
	mkfs.ext4 -q -N $((count + 1000)) "$pool"
	background fuse2fs -f "$pool" "$mnt"
	fuse2fs=$!
	until_true 60 mounted || fail "fuse2fs does not mount"
	work "$fuse2fs" "$mnt"
	umount "$mnt"
	wait_ended "$fuse2fs" || fail "fuse2fs does not end"
fi
