#!/bin/bash
# Pins hold blocks through munmap, close, unlink and the end of the process that made them, as long as somebody has
# their handle; truncate waits for them; and tools say whose they are.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

client=$(helper direct/pin_client)
interrupted=$(helper direct/interrupted)
make_pool 64
mount_pool mapper_timeout=500

# The client here understands other words than A and B do; there is one.

# start FILE: a client that maps 4 MiB of the letter x. $pid.
start() {
	fill "$1" 4
	coproc CLIENT { exec "$client" "$1" $((4 * mib)) 2>> "$dir/client"; }
	pid=$CLIENT_PID
	read -r -t 60 reply <&"${CLIENT[0]}" || fail "the client does not answer: $(cat "$dir/client")"
	same "the client's map" "$reply" ok
}

# says WANTED COMMAND...: WANTED is a pattern.
says() {
	local wanted=$1
	shift
	printf '%s\n' "$*" >&"${CLIENT[1]}"
	read -r -t 60 reply <&"${CLIENT[0]}" || fail "the client does not answer to '$*': $(cat "$dir/client")"
	# shellcheck disable=SC2053
	[[ $reply == $wanted ]] || fail "the client says '$reply' to '$*', '$wanted' was needed"
}

stop() {
	printf 'quit\n' >&"${CLIENT[1]}"
	wait_ended "$pid" || fail "the client does not end"
	same "status of the client" "$ended" 0
}

before=$(free_blocks)
step "through munmap, close and unlink"
start "$mnt/f"
mapped=$(counted refcount)
says ok pin 8192 12288
held=$(units_of 8192 12288)
same "references of map and pin" "$(counted refcount)" $((mapped + held))
says ok unmap
same "references of the pin" "$(counted refcount)" "$held"
same "mappings of the pin" "$(counted mapcount)" 0
"$ctl" pins "$pool" --shm "$dir/shm" > "$dir/out"
grep -q "$pid" "$dir/out" || fail "inodaxctl pins does not name process $pid: $(cat "$dir/out")"
status=0
umount "$mnt" 2> "$dir/err" || status=$?
[ "$status" != 0 ] || fail "the mount goes while blocks are pinned"
grep -q busy "$dir/err" || fail "umount says '$(cat "$dir/err")', busy was needed"
says ok close
same "references, descriptors closed" "$(counted refcount)" "$held"
rm "$mnt/f"
same "references, file unlinked" "$(counted refcount)" "$held"
[ "$(free_blocks)" -lt "$before" ] || fail "an unlinked file's pinned blocks are free"
stop
accounts "after the client"

step "truncate waits, for as long as nobody interrupts it"
start "$mnt/f"
says ok pin 0 4096
same "a truncate that is interrupted" "$("$interrupted" "$mnt/f" 0)" "EINTR"
same "size after that" "$(stat -c %s "$mnt/f")" $((4 * mib))
truncate -s 0 "$mnt/f" &
truncate=$!
pids+=("$truncate")
sleep 1
kill -0 "$truncate" || fail "a truncate does not wait for a pin"
says ok unpin
wait "$truncate" || fail "a truncate failed after the pin was gone"
same "size after that" "$(stat -c %s "$mnt/f")" 0
stop
rm "$mnt/f"
accounts "after the truncate"

step "a pin is not the child's"
start "$mnt/f"
says ok pin 0 4096
says ok unmap
says ok fork
same "references of the pin" "$(counted refcount)" 1
says ok unpin
same "references after it" "$(counted refcount)" 0
stop
rm "$mnt/f"

step "a ring that has the handle keeps the pin of a process that is gone"
start "$mnt/f"
says ok pin 0 8192
says ok unmap
says 'ok *' ring
ring=${reply#ok }
pids+=("$ring")
stop
held=$(units_of 0 8192)
same "references, the process gone" "$(counted refcount)" "$held"
rm "$mnt/f"
same "references, file unlinked" "$(counted refcount)" "$held"
kill -KILL "$ring"
accounts "after the ring"

step "errors"
start "$mnt/f"
says "error 22" pin $((4 * mib)) 1
says "error 22" pin 0 $((4 * mib + 1))
says "error 22" pin 0 0
truncate -s 4096 "$mnt/f"
says "error 6" pin $((2 * mib)) 4096
truncate -s $((4 * mib)) "$mnt/f"
says ok pin 4096 8192
says "ok 0" load 4096
stop
rm "$mnt/f"
accounts "after the errors"

step "a killed daemon: blocks that are pinned belong to nobody else until the client ends"
start "$mnt/f"
says ok pin 0 $((2 * mib))
says ok unmap
rm "$mnt/f"
kill_daemon
mount_pool mapper_timeout=500
same "references that the next daemon knows of" "$(counted refcount)" "$(units_of 0 $((2 * mib)))"
[ "$(free_blocks)" = $((before - 512)) ] || fail "$(free_blocks) blocks are free, $((before - 512)) were to be"
stop
accounts "after the client of an earlier daemon"
finish

step "layout=kernel: no pins that last, as on fsdax"
mount_pool layout=kernel
start "$mnt/f"
says "error 95" pin 0 4096
stop
finish
