#!/bin/bash
# Programs for persistent memory: libpmem2 maps by pages, as on any filesystem without MAP_SYNC, and what it persists is
# there; transactions of libpmemobj are done or not when the program is killed in the middle of them.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need_helper preload/pmem_obj libpmemobj-dev
need pmempool
obj=$(helper preload/pmem_obj)
map=$(helper preload/pmem_map)
transactions=$(scale 40 200 10000)
kills=$(scale 2 4 100)
# Nobody has to say that there is persistent memory where there is none.
unset PMEM_IS_PMEM_FORCE PMEM2_FORCE_GRANULARITY
make_pool 256
mount_pool

# maps_direct: all that were made. With MAP_SYNC none is: these libraries ask so first, and then without it.
maps_direct() {
	grep -q 'not direct: MAP_SYNC' "$dir/explained" || fail "MAP_SYNC was not tried"
	grep -v 'not direct: MAP_SYNC' "$dir/explained" > "$dir/without" || fail "nothing but MAP_SYNC was tried"
	some_direct "$dir/without"
}

# direct COMMAND...: under inodax-run, by maps that are direct; $dir/out is what it said.
direct() {
	: > "$dir/explained"
	"$run" --explain="$dir/explained" "$@" > "$dir/out" 2> "$dir/err" ||
		fail "$*: status $?: $(cat "$dir/explained" "$dir/err")"
	maps_direct
}

# pool_is_fine WHAT: pmempool finds nothing, under inodax-run and without.
pool_is_fine() {
	"$run" --explain="$dir/explained" pmempool check -v "$mnt/obj" > "$dir/pmempool" 2>&1 ||
		fail "$1: pmempool check under inodax-run: $(cat "$dir/pmempool")"
	pmempool check -v "$mnt/obj" > "$dir/pmempool" 2>&1 || fail "$1: pmempool check: $(cat "$dir/pmempool")"
}

# renew: what plain programs left in the page cache goes with the file.
renew() {
	cp --sparse=always "$mnt/obj" "$mnt/new"
	mv "$mnt/new" "$mnt/obj"
}

step "libpmem2: stores that are persisted, and loads"
truncate -s 8M "$mnt/map"
direct "$map" "$mnt/map" write page 1
same "the granularity" "$(cat "$dir/out")" page
direct "$map" "$mnt/map" read page 1
nothing_held "libpmem2"
"$map" "$mnt/map" read page 1 > "$dir/out" || fail "a plain program finds other than what was stored"
expect_error 'granularity' "$run" "$map" "$mnt/map" read cache-line 1
nothing_held "libpmem2"
rm "$mnt/map"

step "libpmemobj: $transactions transactions"
direct "$obj" "$mnt/obj" create
direct "$obj" "$mnt/obj" run "$transactions"
done=$(tail -n 1 "$dir/out")
direct "$obj" "$mnt/obj" check
same "transactions" "$(cat "$dir/out")" "$done"
nothing_held "libpmemobj"
pool_is_fine "after transactions"
same "transactions, plain" "$("$obj" "$mnt/obj" check)" "$done"

step "libpmemobj: killed $kills times in the middle of transactions"
for ((round = 0; round < kills; round++)); do
	renew
	: > "$dir/said"
	: > "$dir/explained"
	"$run" --explain="$dir/explained" "$obj" "$mnt/obj" run 0 > "$dir/said" 2> "$dir/err" &
	writer=$!
	pids+=("$writer")
	until_true 60 test -s "$dir/said" || fail "the writer says nothing: $(cat "$dir/err")"
	sleep "0.$((RANDOM % 3))"
	kill -KILL "$writer"
	wait_ended "$writer" 2>> "$dir/killed" || fail "the writer survives SIGKILL"
	maps_direct
	nothing_held "a writer that was killed"
	said=$(tail -n 1 "$dir/said")
	# Opening it rolls back what was in the middle: pmempool finds a pool that is whole before, and after.
	pmempool check "$mnt/obj" > "$dir/pmempool" 2>&1 || fail "killed: pmempool check: $(cat "$dir/pmempool")"
	renew
	direct "$obj" "$mnt/obj" check
	found=$(cat "$dir/out")
	[[ $((found - said)) =~ ^[01]$ ]] || fail "$said transactions were said to be done, $found are there"
	pool_is_fine "opened after a kill"
done

step "pmempool: a pool that it makes"
rm "$mnt/obj"
direct pmempool create --size 8M obj --layout=accounts "$mnt/made"
pmempool info "$mnt/made" > "$dir/out" || fail "pmempool info of what it made"
grep -q 'Layout.*accounts' "$dir/out" || fail "another layout: $(cat "$dir/out")"
pmempool check "$mnt/made" > "$dir/out" || fail "pmempool check of what it made: $(cat "$dir/out")"
rm "$mnt/made"
nothing_held "pmempool"
finish
