#!/bin/bash
# Private maps of a program that knows nothing of inodax: what it stores is its own, what it does not store is the
# file's, and they are direct, with small pages of the pool and with large ones.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
private=$(helper preload/private)

# agree WHAT COMMAND...
agree() {
	local what=$1
	shift
	"$@" > "$dir/out" 2> "$dir/err" || fail "$what: status $?: $(cat "$dir/err")"
	same "$what" "$(cat "$dir/out")" "as private maps are"
}

step "another filesystem"
agree "another filesystem" "$private" "$dir/elsewhere"

for huge in never always; do
	mount_tmpfs "$huge" 512
	make_pool 64
	mount_pool
	before=$(free_blocks)
	step "huge=$huge: without inodax-run"
	agree "without inodax-run" "$private" "$mnt/plain"
	rm "$mnt/plain"
	step "huge=$huge: with it"
	: > "$dir/explained"
	agree "with inodax-run" "$run" --explain="$dir/explained" "$private" "$mnt/direct" direct
	! grep -E 'not direct|cached' "$dir/explained" || fail "there are maps that are not direct"
	rm "$mnt/direct"
	accounts "after private maps"
	finish
	unmount_tmpfs
done
