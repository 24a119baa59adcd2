#!/bin/bash
# SQLite: inserts in DELETE and WAL mode, a reader beside the writer, integrity_check before and after a
# remount.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need sqlite3
need_fuse
rows=$(scale 20000 200000 2000000)
batch=1000
make_pool "$(scale 256 256 2048)"
mount_pool

inserts() {
	printf 'PRAGMA journal_mode=%s; PRAGMA synchronous=FULL;\n' "$1"
	printf 'CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT UNIQUE, v BLOB);\n'
	awk -v rows="$rows" -v batch="$batch" 'BEGIN {
		for (i = 1; i <= rows; i++) {
			if (i % batch == 1)
				print "BEGIN;"
			printf "INSERT INTO t VALUES(%d, %cs%d%c, zeroblob(%d));\n", i, 39, i * 7919 % 1000003, 39,
				i % 64
			if (i % batch == 0)
				print "COMMIT;"
		}
	}'
}

# check_database MODE
check_database() {
	same "$1: integrity_check" "$(sqlite3 "$mnt/$1.db" 'PRAGMA integrity_check')" ok
	same "$1: rows and sum" "$(sqlite3 "$mnt/$1.db" 'SELECT count(*), sum(id) FROM t')" \
		"$rows|$((rows * (rows + 1) / 2))"
}

for mode in delete wal; do
	step "$rows inserts in $mode mode"
	inserts "$mode" > "$dir/inserts.sql"
	sqlite3 -bail -cmd '.timeout 60000' "$mnt/$mode.db" < "$dir/inserts.sql" > "$dir/sqlite.out" &
	writer=$!
	pids+=("$writer")
	while kill -0 "$writer" 2> "$dir/err"; do
		sqlite3 -cmd '.timeout 60000' "$mnt/$mode.db" 'SELECT count(*) FROM sqlite_master' > "$dir/reader.out"
		sleep 0.5
	done
	wait "$writer" || fail "sqlite3: $(cat "$dir/sqlite.out")"
	check_database "$mode"
done
finish

step "after a remount"
mount_pool
check_database delete
check_database wal
finish
