#!/bin/bash
# Locks of fcntl(2) that a program has on a file stay when it maps the file, changes the map and unmaps it: what the
# library opens and closes for that does not give them up.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
locks=$(helper preload/locks)
make_pool 64
mount_pool

# keeps WHAT COMMAND...
keeps() {
	local what=$1
	shift
	"$@" > "$dir/out" 2> "$dir/err" || fail "$what: status $?: $(cat "$dir/err")"
	same "$what" "$(cat "$dir/out")" "locks stay"
}

step "without inodax-run"
keeps "without inodax-run" "$locks" "$mnt/plain"

step "with it, directly"
keeps "with inodax-run" "$run" --explain="$dir/explained" "$locks" "$mnt/direct"
some_direct "$dir/explained"
nothing_held "with inodax-run"

step "with it, through the page cache"
cp "$mnt/direct" "$mnt/cached"
exec 9< "$mnt/cached"
background python3 -c '
import mmap, sys, time
with open(sys.argv[1], "r+b") as f:
    m = mmap.mmap(f.fileno(), 4096)
m[0] = 1
print("mapped", flush=True)
time.sleep(3600)' "$mnt/cached" > "$dir/holder"
holder=$!
until_true 60 grep -q mapped "$dir/holder" || fail "the holder does not map"
keeps "with inodax-run, cached" "$run" --explain="$dir/explained" "$locks" "$mnt/cached"
grep -q 'cached: cached\|/cached, .*cached [0-9]' "$dir/explained" || fail "nothing was mapped through the page cache"
exec 9<&-
kill -KILL "$holder"
wait_ended "$holder" 2>> "$dir/killed" || fail "the holder does not end"

step "with it, on another filesystem"
keeps "on another filesystem" "$run" "$locks" "$dir/elsewhere"
finish
