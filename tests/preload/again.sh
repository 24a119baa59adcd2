#!/bin/bash
# Address space that a program gave back is free until it maps something there again: the library puts nothing of its
# own there meanwhile, which the program would map over.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
again=$(helper preload/again)
make_pool 64
mount_pool

# works WHAT COMMAND...
works() {
	local what=$1 status=0
	shift
	timeout 60 "$@" > "$dir/out" 2> "$dir/err" || status=$?
	[ "$status" = 0 ] || fail "$what: status $status: $(cat "$dir/err")"
	same "$what" "$(cat "$dir/out")" "mapped again"
}

step "without inodax-run"
works "without inodax-run" "$again" "$mnt/plain"
step "with it"
works "with inodax-run" "$run" --explain="$dir/explained" "$again" "$mnt/direct"
some_direct "$dir/explained"
nothing_held "with inodax-run"
finish
