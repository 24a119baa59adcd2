#!/bin/bash
# One SQLite database in WAL mode, used by a process under inodax-run and a plain one at once: the file that both share
# as memory goes from direct maps to cached ones and back, and the database stays whole.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need sqlite3
each=$(scale 500 2500 50000)
make_pool 256
mount_pool
db=$mnt/db

# writer WHO: transactions of one row each, one after the other.
writer() {
	printf '.timeout 60000\nPRAGMA synchronous=OFF;\nPRAGMA mmap_size=67108864;\n'
	awk -v who="$1" -v n="$each" 'BEGIN {
		for (i = 1; i <= n; i++)
			printf "INSERT INTO t(who, n) VALUES(%d, %d);\n", who, i
	}'
}

# entries: how many direct maps of $mnt/shared inodaxctl sees.
entries() {
	"$ctl" map "$mnt/shared" --shm "$dir/shm" --json > "$dir/map" 2> "$dir/err" ||
		fail "inodaxctl map: $(cat "$dir/err")"
	grep -c '"kind"' "$dir/map" || true
}

is_direct() {
	[ "$(entries)" -gt 0 ]
}

is_cached() {
	[ "$(entries)" = 0 ]
}

# holder [COMMAND...]: maps $mnt/shared, stores 1 to its first byte, and to the last when told to, and adds the first to
# what it says; ends with its input.
holder() {
	"$@" python3 -u -c '
import mmap, sys
with open(sys.argv[1], "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
for line in sys.stdin:
    m[int(line.split()[0])] = int(line.split()[1])
    print(m[0], m[len(m) - 1])' "$mnt/shared"
}

step "two writers of $each transactions each"
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, who INTEGER, n INTEGER);' > "$dir/out"
writer 1 > "$dir/one.sql"
writer 2 > "$dir/two.sql"
"$run" --explain="$dir/explained" sqlite3 -bail "$db" < "$dir/one.sql" > "$dir/one" 2>&1 &
one=$!
pids+=("$one")
sqlite3 -bail "$db" < "$dir/two.sql" > "$dir/two" 2>&1 &
two=$!
pids+=("$two")
wait "$one" || fail "sqlite3 under inodax-run: status $?: $(cat "$dir/one")"
wait "$two" || fail "sqlite3: status $?: $(cat "$dir/two")"
grep -q 'db-shm' "$dir/explained" || fail "the file that both share was not mapped: $(cat "$dir/explained")"
for how in plain run; do
	[ "$how" = plain ] && command=() || command=("$run")
	same "integrity_check, $how" "$("${command[@]}" sqlite3 "$db" 'PRAGMA integrity_check')" ok
	rows=$("${command[@]}" sqlite3 "$db" 'SELECT who, count(*), sum(n) FROM t GROUP BY who ORDER BY who')
	same "rows by writer, $how" "${rows//$'\n'/ }" \
		"1|$each|$((each * (each + 1) / 2)) 2|$each|$((each * (each + 1) / 2))"
done

step "direct, cached for a plain process, and direct again"
head -c 1M /dev/zero > "$mnt/shared"
coproc HOLDER { holder "$run" 2>> "$dir/holder"; }
echo 0 5 >&"${HOLDER[1]}"
read -r -t 60 reply <&"${HOLDER[0]}" || fail "the holder does not answer: $(cat "$dir/holder")"
same "what the holder stored" "$reply" "5 0"
is_direct || fail "no direct map of $mnt/shared: $(cat "$dir/map")"
same "what a plain process finds, and stores" "$(echo 1048575 7 | holder)" "5 7"
is_cached || fail "a direct map beside a plain process that maps the file: $(cat "$dir/map")"
echo 0 6 >&"${HOLDER[1]}"
read -r -t 60 reply <&"${HOLDER[0]}" || fail "the holder does not answer: $(cat "$dir/holder")"
same "what the holder finds then" "$reply" "6 7"
until_true 120 is_direct || fail "no direct map of $mnt/shared after 120 s"
echo 0 8 >&"${HOLDER[1]}"
read -r -t 60 reply <&"${HOLDER[0]}" || fail "the holder does not answer: $(cat "$dir/holder")"
same "what the holder finds at last" "$reply" "8 7"
same "what read(2) finds" "$(head -c 1 "$mnt/shared" | od -An -tu1 | tr -d ' ')" 8
holder=$HOLDER_PID
input=${HOLDER[1]}
exec {input}>&-
wait_ended "$holder" || fail "the holder does not end"
finish
