#!/bin/bash
# The daemon's side of direct mappings, asked by clients without a library: errors, answers, revocation, and what
# becomes of references when clients, files and daemons end in any order.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need setpriv
calls=$(helper direct/grant_calls)
fuzz=$(helper direct/grant_fuzz)
seed=${INODAX_TEST_SEED:-$RANDOM}

# same_as_held: the one client that is left has what it had, $held.
same_as_held() {
	[ "$(counted refcount mapcount limbo)" = "$held 0" ]
}

# start_holder FILE MIB: a client that maps the file and has stored a pattern; $said ends with the size of what is
# counted as one reference.
start_holder() {
	coproc HOLDER { exec "$calls" hold "$@" 2>> "$log"; }
	# shellcheck disable=SC2153 # coproc sets it
	holder=$HOLDER_PID
	read -r -t 60 said <&"${HOLDER[0]}" || fail "the client did not start: $(cat "$log")"
}

# look_at WANTED: what does the client find where it stored?
look_at() {
	local found
	printf 'look\n' >&"${HOLDER[1]}"
	read -r -t 60 found <&"${HOLDER[0]}" || fail "the client does not answer"
	same "what the client finds" "$found" "$1"
}

end_holder() {
	local fd=${HOLDER[1]}
	exec {fd}>&-
	wait_ended "$holder" || fail "the client does not end"
	same "exit status of the client" "$ended" 0
}

# garbage_by COMMAND...: what the clients write over hurts neither the daemon nor the client of another file.
garbage_by() {
	start_holder "$mnt/g" 8
	held=$(counted refcount mapcount)
	"$@" "$dir/fuzz" garbage "$mnt/f" "$dir/shm" "$seed" "$(scale 100 500 20000)"
	until_true 10 same_as_held || fail "references and maps were $held: $("$ctl" folios "$pool" --shm "$dir/shm")"
	look_at whole
	truncate -s 0 "$mnt/g"
	nothing_held "after garbage"
	end_holder
	rm -f "$mnt/f/"* "$mnt/g"
}

for accounting in head page; do
	step "errors, answers, revocation: accounting=$accounting"
	make_pool 1024
	need_small_units
	mount_pool "accounting=$accounting,mapper_timeout=2000,hole_limit=256"
	before=$(free_blocks)
	"$calls" errors "$mnt"
	"$calls" shape "$mnt"
	"$calls" revocations "$mnt"
	accounts "after all, accounting=$accounting"
	finish
done

step "a file without a name, and a client that is killed"
make_pool 256
mount_pool
before=$(free_blocks)
start_holder "$mnt/f" 64
same "references to 64 MiB ($said)" "$(counted refcount)" $((64 * 1048576 / ${said##* }))
rm "$mnt/f"
[ "$(free_blocks)" -le $((before - 16384)) ] || fail "blocks of a mapped file are free"
look_at whole
if umount "$mnt" 2>> "$dir/umount.err"; then
	fail "the mount can be taken away from under a client"
fi
kill -KILL "$holder"
wait_ended "$holder" 2>> "$dir/killed" || fail "the client survives SIGKILL"
accounts "after a client that was killed"
finish

step "a client that outlives its daemon"
make_pool 256
mount_pool
before=$(free_blocks)
start_holder "$mnt/f" 64
rm "$mnt/f"
kill_daemon
mount_pool
grep -q "process $holder maps files of the pool since an earlier mount" "$log" || fail "not said: $(cat "$log")"
look_at whole
# Whoever wants all of the pool gets all but what the client maps.
dd if=/dev/zero of="$mnt/full" bs=1M 2> "$dir/dd" && fail "the pool did not get full"
head -c 150M /dev/zero | tr '\0' 'o' 1<> "$mnt/full"
look_at whole
rm "$mnt/full"
[ "$(free_blocks)" -le $((before - 16384)) ] || fail "blocks that a client maps are free"
end_holder
accounts "after a client that outlived its daemon"
finish

step "clients of whom nothing is known any more"
make_pool 64
mount_pool
start_holder "$mnt/f" 8
kill_daemon
rm -r "$dir/shm"
expect_error 'a process still maps files of this pool' "$mkfs" --force "$pool"
mount_pool
grep -q 'a process maps files of it .* the record of which blocks is lost: read-only until it ends' "$log" ||
	fail "the daemon says nothing of a client that it knows nothing of"
expect_error 'Read-only file system' truncate -s 0 "$mnt/f"
expect_error 'Read-only file system' touch "$mnt/new"
expect_error 'Read-only file system' dd if=/dev/zero of="$mnt/f" bs=4096 count=1 conv=notrunc status=none
same "size of its file" "$(stat -c %s "$mnt/f")" $((8 << 20))
cmp -n 4096 "$mnt/f" "$mnt/f" || fail "its file cannot be read"
unmount_pool
mount_pool
end_holder
can_change() { touch "$mnt/new" 2> "$dir/err"; }
until_true 10 can_change || fail "the pool is read-only when the client has ended: $(cat "$dir/err")"
rm "$mnt/f" "$mnt/new"
finish

step "messages by chance"
make_pool 256
mount_pool mapper_timeout=2,pin=busy
mkdir "$mnt/f"
start_holder "$mnt/g" 8
held=$(counted refcount mapcount)
"$fuzz" "$mnt/f" "$seed" "$(scale 3000 20000 1000000)"
until_true 10 same_as_held || fail "references and maps were $held: $("$ctl" folios "$pool" --shm "$dir/shm")"
look_at whole
end_holder
rm "$mnt/f/"* "$mnt/g"
nothing_held "after messages by chance"
finish

step "garbage over all that clients share with the daemon"
make_pool 256
chgrp 65534 "$pool"
chmod 660 "$pool"
mount_pool mapper_timeout=2,pin=busy,allow_other
mkdir -m 777 "$mnt/f"
# Others may not look into the build directory, nor into that of the sources.
cp "$fuzz" "$dir/fuzz"
garbage_by env
garbage_by env TSAN_OPTIONS="${TSAN_OPTIONS-}:suppressions=" setpriv --reuid 65534 --regid 65534 --clear-groups
finish
