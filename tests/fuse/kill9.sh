#!/bin/bash
# The daemon is killed under a mixed load of writers, again and again: the pool checks clean before and after
# the next mount, and what was acknowledged is there and whole.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_fuse
acked=$(helper fuse/acked)
rounds=${INODAX_TEST_ROUNDS:-$(scale 6 20 200)}
make_pool 512
records=0
for ((round = 1; round <= rounds; round++)); do
	mount_pool "dax=$([ $((round % 2)) = 0 ] && echo never || echo always)"
	mkdir "$mnt/$round"
	background "$acked" write "$mnt/$round" "$pools/log.$round" 4
	writer=$!
	sleep "0.$((RANDOM % 900 + 100))"
	! gone "$writer" || fail "the writer ended before the daemon was killed"
	kill_daemon
	wait_ended "$writer" || fail "the writer does not end after the daemon"
	same "round $round: exit status of the writer" "$ended" 0
	# As it is: records that the next mount will replay are taken into account.
	"$fsck" -v "$pool" > "$dir/fsck.out" 2>&1 || fail "round $round: fsck.inodax: $(cat "$dir/fsck.out")"
	n=$(sed -n 's/.*: \([0-9]*\) journal records.*/\1/p' "$dir/fsck.out")
	records=$((records + n))
	mount_pool
	for ((old = round; old > 0 && old > round - 3; old--)); do
		"$acked" verify "$mnt/$old" "$pools/log.$old" > "$dir/verify.out" ||
			fail "round $round, files of round $old: $(tail -n 20 "$dir/verify.out")"
	done
	printf 'round %d: %s records to replay, %s\n' "$round" "$n" "$(wc -l < "$pools/log.$round") notes"
	if ((round > 3)); then
		rm -r "${mnt:?}/$((round - 3))" "$pools/log.$((round - 3))"
	fi
	unmount_pool
	check_pool
done
[ "$records" -gt 0 ] || fail "in none of $rounds rounds there was a record to replay"
