#!/bin/bash
# RocksDB, which maps the tables it reads and the files it writes: all of what was stored is there, under inodax-run and
# without, and up to what was durable when the writer is killed.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need_helper preload/rocksdb librocksdb-dev
rocksdb=$(helper preload/rocksdb)
records=$(scale 2000 10000 500000)
kills=$(scale 2 4 50)
make_pool "$(scale 256 512 2048)"
mount_pool
db=$mnt/db

# direct COMMAND...: under inodax-run.
direct() {
	"$run" --explain="$dir/explained" "$rocksdb" "$@" 2> "$dir/err"
}

step "$records records"
direct "$db" load 1 "$records" > "$dir/out" || fail "load: $(cat "$dir/err")"
nothing_held "the load"
same "records, under inodax-run" "$(direct "$db" verify)" "$records"
nothing_held "a reader"
grep -q '\.sst, .*: direct [0-9]' "$dir/explained" || fail "no table was mapped directly"
some_direct "$dir/explained"
same "records, plain" "$("$rocksdb" "$db" verify)" "$records"

step "$kills times a writer is killed"
for ((round = 0; round < kills; round++)); do
	: > "$dir/said"
	"$run" --explain="$dir/explained" "$rocksdb" "$db" load $((records + 1)) 10000000 > "$dir/said" 2> "$dir/err" &
	writer=$!
	pids+=("$writer")
	until_true 60 test -s "$dir/said" || fail "the writer says nothing: $(cat "$dir/err")"
	sleep "0.$((RANDOM % 5))"
	kill -KILL "$writer"
	wait_ended "$writer" 2>> "$dir/killed" || fail "the writer survives SIGKILL"
	nothing_held "a writer that was killed"
	said=$(tail -n 1 "$dir/said")
	found=$(direct "$db" verify) || fail "after kill $round: $(cat "$dir/err")"
	[ "$found" -ge "$said" ] || fail "$said records were said to be durable before kill $round, $found are there"
	records=$found
done
same "records, plain" "$("$rocksdb" "$db" verify)" "$records"
nothing_held "RocksDB"
finish
