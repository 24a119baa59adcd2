#!/bin/bash
# LMDB, whose database and table of readers are maps that several processes have: what is stored through them under
# inodax-run is what others find there, whole transactions and nothing else, also when the writer is killed.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need_helper preload/lmdb liblmdb-dev
need mdb_stat mdb_dump
lmdb=$(helper preload/lmdb)
records=$(scale 500 5000 100000)
adds=$(scale 200 2000 50000)
kills=$(scale 2 5 50)
make_pool "$(scale 128 256 2048)"
mount_pool

# direct COMMAND...: under inodax-run, to $dir/explained.
direct() {
	"$run" --explain="$dir/explained" "$lmdb" "$@"
}

# start OUT COMMAND...: the same in the background; $! is its pid.
start() {
	local out=$1
	shift
	"$run" --explain="$dir/explained" "$lmdb" "$@" > "$out" 2>> "$dir/err" &
	pids+=("$!")
}

# ended_well PID WHAT
ended_well() {
	wait_ended "$1" || fail "$2 does not end"
	same "status of $2 ($(cat "$dir/err"))" "$ended" 0
}

# entries FILE: how many direct maps of it inodaxctl sees.
entries() {
	"$ctl" map "$1" --shm "$dir/shm" --json > "$dir/map" 2> "$dir/map.err" || fail "inodaxctl: $(cat "$dir/map.err")"
	grep -c '"kind"' "$dir/map" || true
}

is_direct() {
	[ "$(entries "$1")" -gt 0 ]
}

# whole WHAT RECORDS SUM: so says one who reads all under inodax-run, then a plain one.
whole() {
	same "$1, under inodax-run" "$(direct "$env" "$how" verify)" "$2 $3"
	nothing_held "$1"
	same "$1, plain" "$("$lmdb" "$env" "$how" verify)" "$2 $3"
}

# dump DIRECTORY: but for lines that say how large the map is and how much of it was used.
dump() {
	mdb_dump "$1" | grep -v -E '^(mapsize|maxreaders)='
}

# renew: what plain readers left in the page cache goes with the file.
renew() {
	rm "$env/lock.mdb"
	cp --sparse=always "$env/data.mdb" "$env/new"
	mv "$env/new" "$env/data.mdb"
	: > "$dir/explained"
}

# kill_writer ROUND: and what it said is durable is there.
kill_writer() {
	local first=$((records + 1 + $1 * 1000000)) said
	: > "$dir/said"
	start "$dir/said" "$env" "$how" load "$first" 1000000
	writer=$!
	until_true 60 test -s "$dir/said" || fail "the writer says nothing: $(cat "$dir/err")"
	until_true 60 is_direct "$env/lock.mdb" || fail "the table of readers is not mapped directly"
	until_true 60 is_direct "$env/data.mdb" || fail "the database is not mapped directly"
	sleep "0.$((RANDOM % 5))"
	kill -KILL "$writer"
	wait_ended "$writer" 2>> "$dir/killed" || fail "the writer survives SIGKILL"
	said=$(grep -c . "$dir/said")
	found=$(direct "$env" "$how" verify) || fail "after kill $1: $(cat "$dir/err")"
	found=${found% *}
	added=$((found - had))
	[[ $((added / 10 - said)) =~ ^[01]$ ]] ||
		fail "$said transactions were said to be durable before kill $1, $((added / 10)) are there"
	had=$found
}

for how in map write; do
	env=$mnt/$how
	plain=$dir/$how
	mkdir "$env" "$plain"
	: > "$dir/explained"
	step "$how: $records records, and the same without inodax elsewhere"
	direct "$env" "$how" load 1 "$records" > "$dir/out"
	same "the last record" "$(tail -n 1 "$dir/out")" "$records"
	nothing_held "the load"
	"$lmdb" "$plain" "$how" load 1 "$records" > "$dir/out"
	whole "the records" "$records" 0
	same "entries by mdb_stat" "$(mdb_stat "$env" | sed -n 's/^ *Entries: //p')" $((records + 1))
	dump "$env" > "$dir/here"
	dump "$plain" > "$dir/elsewhere"
	cmp "$dir/here" "$dir/elsewhere" || fail "mdb_dump of it is not that of the other"
	rm -r "$plain" "$dir/here" "$dir/elsewhere"

	step "$how: two writers and a reader, all directly"
	renew
	start "$dir/out" "$env" "$how" add "$adds"
	one=$!
	start "$dir/out" "$env" "$how" add "$adds"
	two=$!
	start "$dir/out" "$env" "$how" watch 5
	three=$!
	ended_well "$one" "the first writer"
	ended_well "$two" "the second writer"
	ended_well "$three" "the reader"
	some_direct "$dir/explained"
	whole "what two writers stored" "$records" $((2 * adds))

	step "$how: one writer, beside plain readers"
	start "$dir/out" "$env" "$how" add "$adds"
	one=$!
	for ((i = 0; i < 5; i++)); do
		"$lmdb" "$env" "$how" watch 1 || fail "a plain reader beside the writer"
		mdb_stat "$env" > "$dir/out"
	done
	ended_well "$one" "the writer"
	whole "what it stored" "$records" $((3 * adds))

	step "$how: $kills times a writer is killed"
	renew
	had=$records
	for ((round = 0; round < kills; round++)); do
		kill_writer "$round"
	done
	some_direct "$dir/explained"
	whole "after the kills" "$had" $((3 * adds))
	rm -r "$env"
done
finish
