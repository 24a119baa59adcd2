#!/bin/bash
# Maps of libinodax on a mount: what programs see of each other's stores, what happens to a map when its file is cut,
# punched, unlinked or used through the page cache, and that nothing is held when the last map is gone, however.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

make_pool 128
mount_pool mapper_timeout=1000

# Folios are of 4 KiB or of 2 MiB, as the pool's memory is.
limbo_bytes() {
	"$ctl" folios "$pool" --shm "$dir/shm" --json | python3 -c '
import json, sys
print(sum(f["bytes"] for f in json.load(sys.stdin)["folios"] if f["limbo"]))'
}

step "stores and loads, read and write"
"$client" basic "$mnt/basic" > "$dir/out" 2> "$dir/err" || fail "map_client basic: $(cat "$dir/err")"
same "map_client basic" "$(cat "$dir/out")" $'direct\nread() sees stores\nloads see write()\nunmapped'
nothing_held "after a client that unmapped"

step "two processes"
fill "$mnt/two" 4
start A "$mnt/two" $((4 * mib)) 1
start B "$mnt/two" $((4 * mib)) 0
same "mapped by A" "$(mapped_from "$a_pid" "$a_at")" "$pool"
same "mapped by B" "$(mapped_from "$b_pid" "$b_at")" "$pool"
says "before" B 120 load 5000
says "a store" A stored store 5000 65
says "after a store" B 65 load 5000
says "sync" A "sync 0" sync
same "read after a store" "$(dd if="$mnt/two" bs=1 skip=5000 count=1 status=none)" A
says "unmap" A "unmap 0" unmap
says "the other unmapped" B 65 load 5000
stop A
stop B
nothing_held "after two clients"

step "truncate"
fill "$mnt/cut" 6
start A "$mnt/cut" $((6 * mib)) 1
same "before" "$(mapped_from "$a_pid" "$(plus "$a_at" $((5 * mib)))")" "$pool"
truncate -s $((2 * mib + 100)) "$mnt/cut"
[ "$(mapped_from "$a_pid" "$(plus "$a_at" $((5 * mib)))")" != "$pool" ] || fail "the pool is mapped behind the end"
says "below the new end" A 120 load $((2 * mib + 99))
says "the tail of the last block" A 0 load $((2 * mib + 100))
says "beyond" A sigbus load $((5 * mib))
says "beyond" A sigbus store $((5 * mib)) 1
same "what was not cut" "$(mapped_from "$a_pid" "$a_at")" "$pool"
becomes A $((5 * mib)) beyond
truncate -s $((6 * mib)) "$mnt/cut"
says "grown again" A 0 load $((5 * mib))
says "the tail of what was the last block" A 0 load $((2 * mib + 200))
stop A
nothing_held "after truncate"

step "a file that grows, under who maps more than it has"
fill "$mnt/grows" 1
start A "$mnt/grows" $((8 * mib)) 1
says "behind the end" A sigbus load $((7 * mib))
truncate -s $((8 * mib)) "$mnt/grows"
says "a page that was not touched" A 0 load $((4 * mib))
says "a store" A stored store $((4 * mib + 8192)) 65
same "as read(2) has it" "$(dd if="$mnt/grows" bs=1 skip=$((4 * mib + 8192)) count=1 status=none)" A
same "how it is mapped" "$(kind A $((4 * mib + 8192)))" direct
says "a page that was touched before" A 0 load $((7 * mib))
stop A
nothing_held "after it grew"

step "a hole punched"
fill "$mnt/punched" 4
start A "$mnt/punched" $((4 * mib)) 1
fallocate -p -o "$mib" -l "$mib" "$mnt/punched"
says "before it" A 120 load $((mib - 1))
says "in it" A 0 load "$mib"
says "after it" A 120 load $((2 * mib))
says "a store" A stored store $((mib + 1)) 66
same "read" "$(dd if="$mnt/punched" bs=1 skip=$((mib + 1)) count=1 status=none)" B
becomes A "$mib" direct
says "direct again" A 66 load $((mib + 1))
stop A
nothing_held "after a hole was punched"

step "the file through the page cache"
fill "$mnt/cached" 1
start A "$mnt/cached" "$mib" 1
says "a store" A stored store 1 67
python3 - "$mnt/cached" <<- 'END'
	import mmap, sys
	with open(sys.argv[1], "r+b") as f:
	    with mmap.mmap(f.fileno(), 0) as m:
	        assert m[0:3] == b"xCx", m[0:3]
	        m[2] = 68
	        m.flush()
END
says "a store by mmap(2)" A 68 load 2
becomes A 0 direct
says "a store by mmap(2), direct" A 68 load 2
stop A
nothing_held "after use through the page cache"

step "unlink"
before=$(free_blocks)
fill "$mnt/gone" 8
start A "$mnt/gone" $((8 * mib)) 1
rm "$mnt/gone"
says "after unlink" A 120 load 12345
says "a store" A stored store 12345 1
[ "$(free_blocks)" -le $((before - 2048)) ] || fail "blocks of an unlinked file that is mapped are free"
says "unmap" A "unmap 0" unmap
freed() {
	[ "$(free_blocks)" -ge $((before - 16)) ]
}
until_true 20 freed || fail "blocks of an unlinked file: $(free_blocks) free of $before after unmap"
stop A
nothing_held "after unlink"

step "descriptors closed"
fill "$mnt/closed" 4
start A "$mnt/closed" $((4 * mib)) 1 closed
same "mapped" "$(mapped_from "$a_pid" "$a_at")" "$pool"
says "a load" A 120 load 1
truncate -s "$mib" "$mnt/closed"
says "after truncate" A sigbus load $((2 * mib))
says "below" A 120 load 1
says "sync" A "sync 0" sync
stop A
nothing_held "after a client without descriptors"

step "a client that is killed"
fill "$mnt/killed" 4
start A "$mnt/killed" $((4 * mib)) 1
[ "$(counted refcount)" -gt 0 ] || fail "a map has no references"
kill -KILL "$a_pid"
wait_ended "$a_pid" 2>> "$dir/coproc" || fail "a client survives SIGKILL"
nothing_held "after SIGKILL"

step "fork"
"$client" fork "$mnt/fork" > "$dir/out" 2> "$dir/err" || fail "map_client fork: $(cat "$dir/err")"
same "map_client fork" "$(cat "$dir/out")" $'the child has the map\nthe parent has the map'
nothing_held "after fork"

step "a client that does not answer"
fill "$mnt/silent" 4
start A "$mnt/silent" $((4 * mib)) 1
kill -STOP "$a_pid"
began=$(date +%s%N)
truncate -s 0 "$mnt/silent"
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -ge 500 ] || fail "truncate waited $took ms for a stopped client, about 1000 were to be expected"
"$ctl" map "$mnt/silent" --shm "$dir/shm" > "$dir/out" 2> "$dir/err" || fail "inodaxctl map: $(cat "$dir/err")"
grep -q "^ *[0-9]* *$a_pid " "$dir/out" || fail "inodaxctl map does not name process $a_pid: $(cat "$dir/out")"
same "bytes that are kept for it" "$(limbo_bytes)" $((4 * mib))
kill -CONT "$a_pid"
becomes A 0 beyond
says "after all" A sigbus load 0
stop A
nothing_held "after a client that did not answer"
finish
