#!/bin/bash
# Blocks that were mapped directly rest before another file gets them: the kernel may still do something with a page
# that was unmapped, which nobody told. They count as free, and who needs them waits.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

client=$(helper direct/pin_client)

# The client here understands other words than A and B do; there is one.

# start: a client that maps 4 MiB of the letter x, has 64 KiB of it in a pipe, unmaps it and removes the file. $pid.
start() {
	head -c 4M /dev/zero | tr '\0' x > "$mnt/f"
	coproc CLIENT { exec "$client" "$mnt/f" $((4 * mib)) 2>> "$dir/client"; }
	pid=$CLIENT_PID
	read -r -t 60 reply <&"${CLIENT[0]}" || fail "the client does not answer: $(cat "$dir/client")"
	same "the client's map" "$reply" ok
	says ok pipe
	says ok unmap
	rm "$mnt/f"
	same "references, unmapped and removed" "$(counted refcount)" 0
}

# says WANTED COMMAND...
says() {
	local wanted=$1
	shift
	printf '%s\n' "$*" >&"${CLIENT[1]}"
	read -r -t 60 reply <&"${CLIENT[0]}" || fail "the client does not answer to '$*': $(cat "$dir/client")"
	same "the client's answer to '$*'" "$reply" "$wanted"
}

stop() {
	printf 'quit\n' >&"${CLIENT[1]}"
	wait_ended "$pid" || fail "the client does not end"
	same "status of the client" "$ended" 0
}

# fill FILE BLOCKS: with the letter n.
fill() {
	head -c $(($2 * 4096)) /dev/zero | tr '\0' n > "$1"
}

make_pool 64
mount_pool quarantine=3600000
before=$(free_blocks)

step "what a client mapped rests, and counts as free"
start
same "blocks that rest" "$(counted resting limbo)" "1024 0"
same "free blocks" "$(free_blocks)" "$before"

step "what is written meanwhile is not where the kernel has the pages still"
fill "$mnt/n" $((before - 1024 - 600))
says "ok same" piped
stop

step "what was never mapped directly does not rest"
rm "$mnt/n"
same "blocks that rest" "$(counted resting)" 1024
same "free blocks" "$(free_blocks)" "$before"
"$ctl" folios "$pool" --shm "$dir/shm" | grep -qx 'resting *1024 free blocks that were mapped directly' ||
	fail "inodaxctl folios does not say what rests"

step "an unmount does not wait for them"
finish

step "without a rest they are used at once"
mount_pool quarantine=0
start
same "blocks that rest" "$(counted resting)" 0
fill "$mnt/n" $(($(stat -f -c %a "$mnt") - 8))
says "ok changed" piped
stop
rm "$mnt/n"
same "free blocks" "$(free_blocks)" "$before"
finish

step "who finds no other blocks waits for these"
mount_pool quarantine=3000
begin_ms=$(date +%s%3N)
start
same "blocks that rest" "$(counted resting)" 1024
stop
available=$(stat -f -c %a "$mnt")
fallocate -l $(((available - 8) * 4096)) "$mnt/n" || fail "fallocate of what statfs says is available"
same "blocks that rest" "$(counted resting)" 0
[ $(($(date +%s%3N) - begin_ms)) -ge 3000 ] || fail "the blocks did not rest"
fill "$mnt/n" $((available - 8))
same "size of the file that has them" "$(stat -c %s "$mnt/n")" $(((available - 8) * 4096))
rm "$mnt/n"
same "free blocks" "$(free_blocks)" "$before"

step "they come back by themselves"
start
stop
rests() { [ "$(counted resting)" != 0 ]; }
none_rests() { ! rests; }
rests || fail "nothing rests"
until_true 20 none_rests || fail "$(counted resting) blocks rest after 20 s"
finish

step "after a daemon that was killed they are free"
mount_pool quarantine=3600000
start
stop
kill_daemon
mount_pool
same "blocks that rest, free blocks" "$(counted resting) $(free_blocks)" "0 $before"
finish

step "a time that is none"
expect_error '-o quarantine=x: milliseconds, 0 to 3600000, are needed' "$inodax" -o quarantine=x "$pool" "$mnt"
