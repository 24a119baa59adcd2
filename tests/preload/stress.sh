#!/bin/bash
# stress-ng's stressors of maps and page faults under inodax-run, on files of the mount: what they verify holds, and
# nothing is held when they end.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need stress-ng
factor=$(scale 1 2 50)
make_pool "$(scale 256 256 1024)"
mount_pool
mkdir "$mnt/stress"
chmod 777 "$mnt/stress"
before=$(free_blocks)

# failed NAME COMMAND...: unless it ends well.
failed() {
	local name=$1
	shift
	timeout -k 20 300 "$@" > "$dir/$name.out" 2>&1 < /dev/null || return 0
	grep -q -E 'fail:|not verified|SIGBUS|SIGSEGV' "$dir/$name.out"
}

# stress direct|any NAME OPS [OPTION...]: two of them at once; `direct`: they map files, all of them directly.
stress() {
	local which=$1 name=$2 ops=$(($3 * factor))
	local command=(stress-ng "--$name" 2 "--$name-ops" "$ops" --verify --oomable --timeout 60 "${@:4}")
	: > "$dir/explained"
	step "$name, $ops times"
	if failed "$name" "$run" --explain="$dir/explained" "${command[@]}" --temp-path "$mnt/stress"; then
		cp "$dir/$name.out" "$dir/here"
		failed "$name" "${command[@]}" --temp-path "$dir" ||
			fail "$name fails, and does not elsewhere: $(cat "$dir/here")"
		printf '%s fails elsewhere, too\n' "$name"
	fi
	# They try offsets that no file has, and huge pages, which no file of a filesystem has, too.
	sed -i -e '/not direct: Invalid argument$/d' -e '/not direct: MAP_HUGETLB$/d' "$dir/explained"
	[ "$which" = any ] || some_direct "$dir/explained"
	accounts "$name"
	mounted || fail "the mount is gone after $name"
}

stress direct mmap 2 --mmap-file --mmap-bytes 2m
# With rights that there are not, too: the map is the kernel's from then on.
stress any mmap 2 --mmap-file --mmap-async --mmap-mprotect --mmap-bytes 2m
stress any msync 20 --msync-bytes 1m
# Each msync(2) makes all of the file durable: that takes a minute.
[ "${INODAX_TEST_FULL:-0}" != 1 ] || stress any msyncmany 1
stress any madvise 2
stress any fault 50
stress any mremap 4 --mremap-bytes 4m
stress any sendfile 20
stress any splice 50
rm -r "$mnt/stress"
finish
