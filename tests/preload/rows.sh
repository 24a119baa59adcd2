#!/bin/bash
# What programs see of mappings of files, row by row of doc/mirror.md, section 5: as with the kernel's DAX, but for what
# is said there. The program that looks knows nothing of inodax; a tmpfs, where that does what DAX does, shows that it
# looks right.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
rows=$(helper preload/rows)

# seen WHERE WANTED COMMAND...: that all rows are as they have to be, and how many those were.
seen() {
	local where=$1 wanted=$2
	shift 2
	"$@" > "$dir/out" 2> "$dir/err" < /dev/null || fail "$where: status $?: $(cat "$dir/err")"
	same "rows of $where" "$(wc -l < "$dir/out")" "$wanted"
}

# Whatever a program may do to a map, it is direct; but not with MAP_SYNC, or what the kernel refuses.
directly() {
	grep -q -E ': (direct|zero|beyond the end) [0-9]' "$dir/explained" || fail "no map is direct"
	grep -E 'not direct|cached' "$dir/explained" |
		grep -v -E 'not direct: (MAP_|a flag|Invalid|Permission)' > "$dir/plain" || true
	# What was touched beyond the end of a file goes by the page cache for a while when the file grows.
	[ "$1" != ends ] || sed -i '/in use through the page cache/d' "$dir/plain"
	[ ! -s "$dir/plain" ] || fail "there are maps that are not direct: $(cat "$dir/plain")"
}

# group NAME ROWS
group() {
	: > "$dir/explained"
	seen "group $1, huge=$huge" "$2" \
		"$run" --explain="$dir/explained" "$rows" "$1" "$mnt/file" "$dir/other" direct "${large[@]}"
	directly "$1"
}

need_huge_pages

step "on another filesystem"
mount_tmpfs never 256
mkdir "$dir/tmpfs/files"
for pair in holes:1 sizes:4 lives:2 ends:5 writes:5 flags:2 private:4 parts:4 advice:2 hands:4 others:1; do
	seen "group ${pair%:*}, tmpfs" "${pair#*:}" \
		"$rows" "${pair%:*}" "$dir/tmpfs/files/file" "$dir/other" tmpfs
done
unmount_tmpfs

for huge in never always; do
	large=()
	[ "$huge" = never ] || large=(large)
	mount_tmpfs "$huge" 512
	make_pool 64
	need_small_units
	mount_pool
	before=$(free_blocks)
	step "holes, huge=$huge"
	group holes 7
	step "sizes, huge=$huge"
	group sizes 6
	step "lives of files, huge=$huge"
	group lives 2
	step "ends of files, huge=$huge"
	group ends 7
	step "writes and punches, huge=$huge"
	group writes 6
	step "flags, huge=$huge"
	group flags 4
	step "private maps, huge=$huge"
	group private 4
	step "parts of maps, huge=$huge"
	group parts 6
	step "advice, huge=$huge"
	group advice 4
	step "in the kernel's hands, huge=$huge"
	group hands 5
	step "what is told of files, huge=$huge"
	group others 5
	accounts "after all of them, huge=$huge"
	finish
	unmount_tmpfs
done
