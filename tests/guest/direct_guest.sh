#!/bin/bash
# Files of pools on persistent memory, mapped directly: runs in a guest (guest.sh 6.1 tests/guest/direct_guest.sh).
#
#	direct_guest.sh [KIND[:PART]...]	default: all parts on ext4, xfs, dax4k and dax2m
#
# Each part has a pool of its own, makes it, uses it, unmounts and checks it; one that fails does not keep others from
# running. Lines that begin with "map:" say how things are mapped.
kind=${GUEST_KIND:-}
part=${GUEST_PART:-}
parts=(kind copy small basic large fio change killed refused plain)

# ---- One part ------------------------------------------------------------------------------------

# say_map WHO FILE: how the client's map is, run by run.
say_map() {
	local at=0 length
	length=$(stat -c %s "$2")
	while [ "$at" -lt "$length" ]; do
		tell "$1" query "$at"
		printf 'map: %s %s: %s\n' "$kind" "${2##*/}" "$reply"
		# shellcheck disable=SC2086	# words
		set -- "$1" "$2" $reply
		case ${4:-} in '' | *[!0-9]*) return ;; esac
		at=$(($4 + $5))
		set -- "$1" "$2"
	done
}

is_direct() {
	tell "$1" query "$2"
	[ "${reply%% *}" = direct ] || fail "the map at $2 is not direct: $reply"
}

# byte OFFSET FILE
byte() {
	dd if="$2" bs=1 skip="$1" count=1 status=none
}

# Before 6.6 the kernel maps no file shared that is read and written past the page cache.
need_shared_maps() {
	local major minor
	IFS=. read -r major minor _ < /proc/sys/kernel/osrelease
	[ "$major" -gt 6 ] || { [ "$major" = 6 ] && [ "${minor%%[!0-9]*}" -ge 6 ]; } ||
		skip "kernel $major.$minor cannot map files of the mount, 6.6 is needed"
}

test_kind() {
	"$ctl" info "$pool" | sed 's/^/map: /'
	"$ctl" list | sed 's/^/map: /'
	step "the daemon's mapping of the pool"
	case $kind in
	ext4 | xfs) same "kind" "$("$ctl" info "$pool" | awk '$1 == "kind" { print $2 }')" fsdax ;;
	*) same "kind" "$("$ctl" info "$pool" | awk '$1 == "kind" { print $2 }')" device-dax ;;
	esac
	awk -v pool="$pool" '$1 ~ /^[0-9a-f]+-[0-9a-f]+$/ { on = $NF == pool; if (on) print "map:", $0 }
		on && /^VmFlags/ { print "map:", $0 }' "/proc/$daemon/smaps" > "$dir/smaps"
	cat "$dir/smaps"
	grep -q 'VmFlags.* sf' "$dir/smaps" || fail "the pool is not mapped with MAP_SYNC"
}

# same_file FILE COPY: read by pieces as large as requests can be; cmp(1) takes many more.
same_file() {
	dd if="$2" bs=1M status=none | cmp - "$1" || fail "$2 is not what was copied"
}

test_copy() {
	local size
	mkdir "$dir/from"
	for size in 1 4095 4096 5000 20000 300000; do
		head -c "$size" /dev/urandom > "$dir/from/$size"
	done
	random_file "$dir/from/large" 64
	cp "$dir/from"/* "$mnt"
	for size in "$dir/from"/*; do
		same_file "$size" "$mnt/${size##*/}"
	done
	step "after another mount"
	unmount_pool
	check_pool
	mount_pool
	for size in "$dir/from"/*; do
		same_file "$size" "$mnt/${size##*/}"
	done
}

test_small() {
	local size
	need_shared_maps
	for size in 5000 300000; do
		head -c "$size" /dev/urandom > "$dir/small.$size"
		cp "$dir/small.$size" "$mnt/"
		start A "$mnt/small.$size" "$size" 1
		says "a load" A "$(head -c 1 "$dir/small.$size" | od -A n -t u1 | tr -d ' ')" load 0
		says "a store" A stored store 4999 65
		same "read" "$(byte 4999 "$mnt/small.$size")" A
		say_map A "$mnt/small.$size"
		"$ctl" map "$mnt/small.$size" --shm "$dir/shm" | sed 's/^/map: /'
		is_direct A 0
		stop A
	done
	nothing_held "after small files"
}

test_basic() {
	need_shared_maps
	"$client" basic "$mnt/basic" > "$dir/out" 2>&1 || fail "map_client basic: status $?: $(cat "$dir/out")"
	"$client" fork "$mnt/fork" > "$dir/out" 2>&1 || fail "map_client fork: status $?: $(cat "$dir/out")"
	nothing_held "after both"
}

# random_file FILE MIB: of parts that differ.
random_file() {
	local i
	head -c $((4 * mib - 16)) /dev/urandom > "$dir/part"
	for ((i = 0; i < $2; i += 4)); do
		printf '%16d' "$i"
		cat "$dir/part"
	done > "$1"
}

test_large() {
	need_shared_maps
	random_file "$mnt/large" 64
	start A "$mnt/large" $((64 * mib)) 1
	say_map A "$mnt/large"
	"$ctl" map "$mnt/large" --shm "$dir/shm" | head -n 5 | sed 's/^/map: /'
	is_direct A 0
	is_direct A $((63 * mib))
	same "mapped from" "$(mapped_from "$a_pid" "$a_at")" "$pool"
	says "a store" A stored store $((40 * mib)) 65
	same "read" "$(byte $((40 * mib)) "$mnt/large")" A
	stop A
	nothing_held "after a large file"
	step "page faults"
	"$client" faults "$mnt/faults" $((64 * mib)) > "$dir/out" 2>&1 < <(echo; echo) ||
		fail "map_client faults: $(cat "$dir/out")"
	sed 's/^/map: 64 MiB, allocated at once: /' "$dir/out"
}

test_fio() {
	local rw
	need_shared_maps
	for rw in write randwrite; do
		: > "$dir/explained"
		"$run" --explain="$dir/explained" fio --name=verify --directory="$mnt" --ioengine=mmap --bs=4k --verify_fatal=1 \
			--do_verify=1 --thread --rw="$rw" --verify=crc32c --size=8m --randrepeat=0 > "$dir/fio.out" 2>&1 ||
			fail "fio $rw: status $?: $(tail -n 5 "$dir/fio.out" "$dir/explained")"
		sort "$dir/explained" | uniq -c | sed 's/^/map: fio: /'
		[ -s "$dir/explained" ] || fail "fio $rw: no map was explained"
		! grep -v ': direct [0-9]*$' "$dir/explained" > "$dir/other" ||
			fail "fio $rw: not direct: $(head -n 5 "$dir/other")"
		rm "$mnt"/verify*
	done
	nothing_held "after fio"
	: > "$dir/explained"
	"$run" --explain="$dir/explained" fio --name=verify --directory="$mnt" --ioengine=mmap --bs=4k --verify_fatal=1 \
		--do_verify=1 --thread --rw=write --verify=crc32c --size=128k --nrfiles=16 > "$dir/fio.out" 2>&1 ||
		fail "fio, many small files: status $?: $(tail -n 5 "$dir/fio.out" "$dir/explained")"
	sed 's/^.*: map of [^,]*,/maps of a file,/' "$dir/explained" | sort | uniq -c | sed 's/^/map: fio, small files: /'
}

more_blocks() {
	[ "$(free_blocks)" -ge "$1" ]
}

# A map ends with the unit that the file ends in. On a device that maps by 2 MiB, where files of 6 MiB and a bit end at
# 8 MiB so, a load behind the end finds zeros when it is direct, and SIGBUS while it is cached.
test_change() {
	local before
	need_shared_maps
	fill "$mnt/f" 12
	start A "$mnt/f" $((12 * mib)) 1
	say_map A "$mnt/f"
	step "truncate"
	truncate -s $((6 * mib + 100)) "$mnt/f"
	says "below the new end" A 120 load $((6 * mib + 99))
	says "the tail of the last block" A 0 load $((6 * mib + 100))
	[ "$kind" = dax2m ] || says "beyond the last block" A sigbus load $((7 * mib))
	says "beyond" A sigbus load $((9 * mib))
	step "a hole punched"
	fallocate -p -o "$mib" -l "$mib" "$mnt/f"
	says "before it" A 120 load $((mib - 1))
	says "in it" A 0 load "$mib"
	says "after it" A 120 load $((2 * mib))
	says "a store in it" A stored store $((mib + 1)) 66
	same "read" "$(byte $((mib + 1)) "$mnt/f")" B
	says "before it grows" A sigbus load $((9 * mib))
	truncate -s $((12 * mib)) "$mnt/f"
	says "grown again" A 0 load $((9 * mib))
	say_map A "$mnt/f"
	step "nobody touches it"
	becomes A 0 direct
	says "before the hole" A 120 load $((mib - 1))
	says "stored before" A 66 load $((mib + 1))
	says "in the hole" A 0 load $((mib + 5000))
	says "grown again" A 0 load $((9 * mib))
	say_map A "$mnt/f"
	step "unlink"
	before=$(free_blocks)
	rm "$mnt/f"
	says "after unlink" A 120 load 5
	says "a store after unlink" A stored store 5 67
	says "what was stored" A 67 load 5
	[ "$(free_blocks)" -le $((before + 16)) ] || fail "blocks of an unlinked file that is mapped are free"
	stop A
	nothing_held "after all"
	until_true 20 more_blocks $((before + 1280)) ||
		fail "blocks of an unlinked file: $(free_blocks) are free after it is gone, $before were before"
}

test_killed() {
	need_shared_maps
	random_file "$dir/kept" 8
	cp "$dir/kept" "$mnt/kept"
	start A "$mnt/kept" $((8 * mib)) 1
	is_direct A $((5 * mib))
	says "a store" A stored store $((5 * mib)) 65
	kill_daemon
	says "a load without a daemon" A 65 load $((5 * mib))
	stop A
	mount_pool
	printf A | dd of="$dir/kept" bs=1 seek=$((5 * mib)) conv=notrunc status=none
	same_file "$dir/kept" "$mnt/kept"
}

test_refused_block() {
	local block
	block=$(findmnt -n -o SOURCE "/mnt/$kind")
	expect_error "$block: a block device; either use a file on it .*mount -o dax" "$mkfs" -f "$block"
	expect_error "$block: a block device; either" "$inodax" "$block" "$mnt"
}

# Of the device of the pool, without its driver.
test_refused_dax() {
	local words="$pool: no driver is bound to the device.*daxctl enable-device ${pool##*/}"
	unmount_pool
	daxctl disable-device "${pool##*/}" > "$dir/out" 2>&1 || fail "daxctl: $(cat "$dir/out")"
	expect_error "$words" "$mkfs" "$pool"
	expect_error "$words" "$mkfs" -f "$pool"
	expect_error "$words" "$inodax" -f "$pool" "$mnt"
	expect_error "$words" "$fsck" "$pool"
	expect_error "$words" "$ctl" info "$pool"
	daxctl enable-device "${pool##*/}" > "$dir/out" 2>&1 || fail "daxctl: $(cat "$dir/out")"
	mount_pool
}

# What the programs say of what cannot be used as it is.
test_refused() {
	case $kind in
	dax*) test_refused_dax ;;
	*) test_refused_block ;;
	esac
	step "in use"
	expect_error "$pool: in use by pid $daemon" "$inodax" -f "$pool" "$dir"
	expect_error "$pool: in use by process $daemon; unmount it first" "$mkfs" -f "$pool"
	expect_error "$pool: in use by pid $daemon" "$fsck" "$pool"
}

# What is said of a filesystem that could have DAX and is mounted without: on the region that device-DAX has otherwise.
test_plain() {
	local words="page-cached: its device has DAX, which is used when the filesystem is mounted with -o dax"
	case $kind in dax*) skip "no filesystem" ;; esac
	# shellcheck source=tests/guest/pools.sh
	. "$top_srcdir/tests/guest/pools.sh"
	namespace 2 -m fsdax -M dev > "$dir/out"
	make_fs "$kind" /dev/pmem2 > "$dir/out" 2>&1 || fail "mkfs.$kind: $(cat "$dir/out")"
	mkdir "$dir/plain"
	mount /dev/pmem2 "$dir/plain"
	"$mkfs" --size 128m "$dir/plain/pool" > "$dir/out" 2>&1 || fail "mkfs.inodax: $(cat "$dir/out")"
	grep -q "kind *$words" "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
	unmount_pool
	local pool=$dir/plain/pool
	mount_pool
	grep -q "the pool is $words" "$log" || fail "the daemon: $(cat "$log")"
	unmount_pool
	umount "$dir/plain"
	mount -o dax /dev/pmem2 "$dir/plain"
	"$mkfs" -f "$pool" > "$dir/out" 2>&1 || fail "mkfs.inodax: $(cat "$dir/out")"
	grep -q "kind *fsdax$" "$dir/out" || fail "mkfs.inodax: $(cat "$dir/out")"
	mount_pool
	finish
	umount "$dir/plain"
	exit 0
}

run_part() {
	# shellcheck source=tests/lib/maps.sh
	. "$top_srcdir/tests/lib/maps.sh"
	make_pool 512
	mount_pool mapper_timeout=1000
	"test_$part"
	finish
}

# ---- All -----------------------------------------------------------------------------------------

# What the kernel says about its own faults is one of ours too, until shown otherwise.
kernel_complains() {
	dmesg | grep -E 'WARNING:|BUG:|Oops|hung_task|blocked for more' | tail -n "+$((complaints + 1))"
}

run_one() {
	local status=0 began=$SECONDS
	GUEST_KIND=$1 GUEST_PART=$2 bash "$0" || status=$?
	if [ -n "$(kernel_complains)" ]; then
		kernel_complains
		complaints=$(dmesg | grep -c -E 'WARNING:|BUG:|Oops|hung_task|blocked for more')
		[ "$status" != 0 ] || status=1
	fi
	if [ "$status" = 77 ]; then
		printf 'skipped: %s %s\n' "$1" "$2"
	elif [ "$status" = 0 ]; then
		printf 'ok: %s %s, %s s\n' "$1" "$2" $((SECONDS - began))
	else
		printf 'not ok: %s %s, status %s, %s s\n' "$1" "$2" "$status" $((SECONDS - began))
		failed+=("$1:$2")
	fi
}

run_all() {
	local one name
	# shellcheck source=tests/guest/pools.sh
	. "$top_srcdir/tests/guest/pools.sh"
	complaints=0
	failed=()
	[ $# -gt 0 ] || set -- "${pool_kinds[@]}"
	for one; do
		use_kind "${one%%:*}"
		if [[ $one == *:* ]]; then
			run_one "${one%%:*}" "${one#*:}"
			continue
		fi
		for name in "${parts[@]}"; do
			run_one "$one" "$name"
		done
	done
	[ ${#failed[@]} = 0 ] || { printf 'FAIL: %s\n' "${failed[*]}" && exit 1; }
	printf 'all of %s\n' "$*"
}

if [ -n "$part" ]; then
	run_part
else
	run_all "$@"
fi
