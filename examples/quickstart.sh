#!/bin/bash
# From a clone to numbers: installs what is missing, builds, makes a pool in tmpfs, mounts it, runs fio and an
# SQLite load on it, unmounts and checks it. As root, or as an ordinary user who has sudo for apt. Leaves
# nothing behind.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/inodax-quickstart.XXXXXX")
pool=$(mktemp -u /dev/shm/inodax-quickstart.XXXXXX)
mnt=$work/mnt
mkdir "$work/src" "$mnt"

step() {
	printf '== %s\n' "$*"
}

mounted() {
	grep -qs " $mnt " /proc/self/mountinfo
}

unmount() {
	if [ "$(id -u)" = 0 ]; then
		umount "$mnt"
	else
		fusermount3 -u "$mnt"
	fi
}

at_exit() {
	local status=$?
	if mounted; then
		unmount || true
	fi
	if [ "$status" != 0 ]; then
		printf 'quickstart: failed, status %d\n' "$status"
		tail -n 20 "$work"/*.log
	fi
	rm -rf --one-file-system "$work" "$pool"
}
trap at_exit EXIT

# fio_row NAME RW BS: bandwidth in MiB/s and operations a second, of fio's terse output.
fio_row() {
	fio --name=quickstart --directory="$mnt" --ioengine=psync --rw="$2" --bs="$3" --size=64m --time_based \
		--runtime=2 --output-format=terse --terse-version=3 > "$work/fio.log"
	awk -F ';' -v name="$1" '{ printf "  %-24s %8.0f MiB/s %9d ops/s\n", name, ($7 + $48) / 1024, $8 + $49 }' \
		"$work/fio.log"
}

sqlite_row() {
	local start=$EPOCHREALTIME
	awk 'BEGIN {
		print "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
		for (i = 0; i < 50000; i++) {
			if (i % 50 == 0) print "BEGIN;"
			printf "INSERT INTO t(v) VALUES(hex(randomblob(32)));\n"
			if (i % 50 == 49) print "COMMIT;"
		}
		print "PRAGMA integrity_check;"
	}' | sqlite3 -bail "$mnt/quickstart.db" > "$work/sqlite.log"
	[ "$(tail -n 1 "$work/sqlite.log")" = ok ]
	awk -v a="$start" -v b="$EPOCHREALTIME" \
		'BEGIN { printf "  %-24s %8.2f s     %9d commits/s\n", "SQLite, 50000 inserts", b - a, 1000 / (b - a) }'
}

[ -c /dev/fuse ] || { echo "quickstart: there is no /dev/fuse; load the kernel module fuse" >&2; exit 1; }

step "what is missing"
"$top/scripts/install-deps.sh" fio sqlite3 > "$work/install.log" 2>&1
tail -n 1 "$work/install.log"

step "build"
"$top/scripts/copy-sources.sh" "$work/src"
cd "$work/src"
{
	[ -x configure ] || autoreconf -fi
	./configure
	make -j"$(nproc)"
} > "$work/build.log" 2>&1

step "a pool of 512 MiB in tmpfs"
./mkfs.inodax --size 512m --label quickstart "$pool"

step "mount"
./inodax "$pool" "$mnt"
./inodaxctl list

step "on it"
fio_row "write 4k" write 4k
fio_row "random write 4k" randwrite 4k
fio_row "read 4k" read 4k
fio_row "write 1m" write 1m
fio_row "read 1m" read 1m
sqlite_row

step "unmount, check"
unmount
# The daemon writes what it keeps in memory after the mount is gone.
for ((i = 0; i < 100; i++)); do
	./inodaxctl info "$pool" | grep -q '^state *clean' && break
	sleep 0.1
done
./fsck.inodax -f "$pool"
