#!/bin/bash
# Requests that wait for a client which does not answer: whatever number of them, the mount goes on for everybody else,
# and for whoever else uses the same files. The client has an hour, so what is pending is pending until it is let go on.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

kib64=65536
size=60000		# within a block
# More than the daemon has threads in its loop, and as many kinds of requests as there are.
count=$((4 * $(nproc) + 24))
[ "$count" -le 280 ] || count=280
[ "$count" -ge 40 ] || count=40
ctl_dir=$dir/fusectl
kinds=(truncate punch write copy append fill trunc_open)

test_cleanup() {
	umount "$ctl_dir" 2>> "$log" || true
}

# requests: that the kernel has sent to the daemon, or is about to, and has no answer of.
requests() {
	cat "$ctl_dir/$connection/waiting"
}

# only_one: truncate's; the kernel has let go of everything else.
only_one() {
	[ "$(requests)" = 1 ]
}

# connect: which one it is; before anything waits.
connect() {
	connection=$(python3 -c 'import os, sys; print(os.minor(os.stat(sys.argv[1]).st_dev))' "$mnt")
}

# pending COUNT: so many are not answered.
pending() {
	[ "$(requests)" -ge "$1" ]
}

# start_client COUNT: a process that maps $mnt/m/0 and so on; $holder.
start_client() {
	local word
	coproc HOLDER { exec "$client" many "$mnt/m" "$1" $kib64 2>> "$dir/client"; }
	read -r -t 60 word holder <&"${HOLDER[0]}" || fail "the client does not start: $(cat "$dir/client")"
	same "the client" "$word" mapped
}

end_client() {
	local fd=${HOLDER[1]}
	# shellcheck disable=SC2153 # coproc sets it
	holder=$HOLDER_PID
	exec {fd}>&-
	wait_ended "$holder" || fail "the client does not end"
	same "status of the client: $(cat "$dir/client")" "$ended" 0
}

# copy_once: the kernel (Linux 6.18) asks for the newer form of copy_file_range() first, which the library does not
# know; when two that come at once learn of that, the second takes it that there is neither, and copies through the page
# cache for good.
copy_once() {
	python3 - "$mnt/copied" <<- 'END'
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		os.write(fd, b"x" * 8192)
		assert os.copy_file_range(fd, fd, 4096, 0, 4096) == 4096
	END
}

# make_files COUNT: the first 32 KiB of each are data, the rest is a hole.
make_files() {
	local i
	mkdir "$mnt/m"
	for ((i = 0; i < $1; i++)); do
		head -c $((kib64 / 2)) /dev/zero | tr '\0' x > "$mnt/m/$i"
		truncate -s $size "$mnt/m/$i"
	done
}

cat > "$dir/request.py" << 'END'
# request.py KIND FILE DONE: one request that waits for who maps the file; then the file DONE is made.
import ctypes, mmap, os, sys
kind, name, done = sys.argv[1:]
half = 32768
fd = os.open(name, os.O_RDWR)
if kind == "truncate":
    os.ftruncate(fd, 4096)
elif kind == "punch":
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    assert libc.fallocate(fd, 3, 0, 8192) == 0, ctypes.get_errno()
elif kind == "write":
    assert os.pwrite(fd, b"w" * 4096, half) == 4096
elif kind == "copy":
    assert os.copy_file_range(fd, fd, 4096, 0, half) == 4096
elif kind == "append":
    end = os.open(name, os.O_WRONLY | os.O_APPEND)
    assert os.write(end, b"a" * 100) == 100
elif kind == "fill":
    with mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
        assert m[0:1] == b"x", m[0:1]
elif kind == "trunc_open":
    os.close(os.open(name, os.O_WRONLY | os.O_TRUNC))
else:
    sys.exit("no such kind: " + kind)
open(done, "w").close()
END

# request KIND NUMBER: in the background; $asked counts them, and their pids are in $askers.
request() {
	background python3 "$dir/request.py" "$1" "$mnt/m/$2" "$dir/done.$asked" 2>> "$dir/requests"
	askers+=("$!")
	asked=$((asked + 1))
}

# part FILE BLOCK BLOCKS
part() {
	dd if="$1" bs=4096 skip="$2" count="$3" status=none
}

answered() {
	find "$dir" -maxdepth 1 -name 'done.*' | wc -l
}

# others_go_on: everything that has nothing to do with the files that are waited for.
others_go_on() {
	local n
	for n in 1 2 3 4 5 6 7 8; do
		timeout 120 ls -l "$mnt" > "$dir/ls" || fail "ls: status $?"
		timeout 120 dd if=/dev/urandom of="$mnt/other.$n" bs=64k count=4 conv=fsync status=none ||
			fail "a write: status $?"
		timeout 120 cat "$mnt/other.$n" > "$dir/other.$n" || fail "a read: status $?"
		timeout 120 truncate -s 1000 "$mnt/other.$n" || fail "truncate: status $?"
		timeout 120 mv "$mnt/other.$n" "$mnt/moved.$n" || fail "mv: status $?"
		timeout 120 rm "$mnt/moved.$n" || fail "rm: status $?"
	done
}

all_answered() {
	[ "$(answered)" = "$asked" ]
}

# second_client: of file 0, which is being truncated.
second_client() {
	step "a second client of a file that is being truncated"
	background "$client" hold "$mnt/m/0" $kib64 0 > "$dir/second" 2>&1
	second=$!
	until_true 120 pending $((count + 1)) || fail "the second client's fault does not wait: $(cat "$dir/second")"
	others_go_on
	same "requests that were answered: $(cat "$dir/requests")" "$(answered)" 0
}

# requests_wait THREADS: with so many for them. What the page cache asks for has threads beside these, the loop has its
# own, and there are some more.
requests_wait() {
	local i pid threads most
	most=$((($(nproc) > 4 ? 4 * $(nproc) : 16) + count / ${#kinds[@]} + 1 + $1 + 8))
	make_pool 128
	need_small_units
	mount_pool "mapper_timeout=3600000,waiters=$1"
	connect
	copy_once
	make_files "$count"
	start_client "$count"
	kill -STOP "$holder"
	askers=()
	asked=0
	rm -f "$dir"/done.*
	for ((i = 0; i < count; i++)); do
		request "${kinds[i % ${#kinds[@]}]}" "$i"
	done
	until_true 120 pending "$count" || fail "$(requests) of $count requests wait: $(cat "$dir/requests")"
	threads=$(find "/proc/$daemon/task" -mindepth 1 -maxdepth 1 | wc -l)
	[ "$threads" -le "$most" ] || fail "the daemon has $threads threads, $most are enough"
	others_go_on

	step "the same files"
	timeout 120 stat "$mnt"/m/* > "$dir/stat" || fail "stat of files that are waited for: status $?"
	for i in 0 1 2 3; do
		same "read of file $i, which others want to change" "$(timeout 120 head -c 10 "$mnt/m/$i")" xxxxxxxxxx
	done
	same "requests that were answered: $(cat "$dir/requests")" "$(answered)" 0
	pending "$count" || fail "only $(requests) requests wait still"

	# Of those in line nobody has a lock yet: it would not have to wait.
	second=
	[ "$1" -lt "$count" ] || second_client

	step "the client goes on"
	kill -CONT "$holder"
	until_true 120 all_answered || fail "$(answered) of $asked requests were answered: $(cat "$dir/requests")"
	for pid in "${askers[@]}"; do
		wait "$pid" || fail "a request failed: $(cat "$dir/requests")"
	done
	if [ -n "$second" ]; then
		wait_ended "$second" || fail "the second client does not end"
		same "status of the second client: $(cat "$dir/second")" "$ended" 0
	fi
	same "size after truncate" "$(stat -c %s "$mnt/m/0")" 4096
	same "what was punched" "$(part "$mnt/m/1" 0 2 | tr -d '\0' | wc -c)" 0
	same "what was written" "$(part "$mnt/m/2" 8 1 | tr -d w | wc -c)" 0
	same "what was copied" "$(part "$mnt/m/3" 8 1 | tr -d x | wc -c)" 0
	same "what was appended" "$(tail -c 100 "$mnt/m/4" | tr -d a | wc -c)" 0
	same "size after appending" "$(stat -c %s "$mnt/m/4")" $((size + 100))
	same "size after O_TRUNC" "$(stat -c %s "$mnt/m/6")" 0
	end_client
	finish
}

mkdir "$ctl_dir"
mount -t fusectl inodax-test "$ctl_dir" || skip "no fusectl can be mounted"
step "$count requests wait, each in a thread"
requests_wait 1024
step "$count requests wait, most of them in line"
requests_wait 2

step "a pin of whoever outlived an earlier daemon: a signal, and the daemon's end"
make_pool 64
coproc PINNER { exec "$(helper dax/holder)" "$pool" "$dir/shm" 2>> "$log"; }
# shellcheck disable=SC2153 # coproc sets it
pinner=$PINNER_PID
printf 'small 0 0\npin 0 0 1\n' >&"${PINNER[1]}"
for word in ready ok ok; do
	read -r -t 60 line <&"${PINNER[0]}" || fail "the holder of a pin does not answer"
	same "the holder of a pin said $line" "${line%% *}" $word
done
kill -KILL "$pinner"
wait_ended "$pinner" 2>> "$dir/coproc" || fail "the holder of a pin survives SIGKILL"
# Its grant has number 11; as long as somebody has that byte of the pool, its references count.
cat > "$dir/lock.py" << 'END'
import fcntl, struct, sys
f = open(sys.argv[1], "r+b")
fcntl.fcntl(f, 37, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, (1 << 62) + 2 + 11, 1, 0))	# F_OFD_SETLK
print("locked", flush=True)
sys.stdin.read()
END
coproc LOCK { exec python3 "$dir/lock.py" "$pool"; }
read -r -t 60 word <&"${LOCK[0]}" || fail "the pool's byte is not locked"
mount_pool mapper_timeout=3600000
connect
{ coproc HOLDER { exec "$client" hold "$mnt/held" $kib64 0 2>> "$dir/client"; }; } 2>> "$dir/coproc"
holder=$HOLDER_PID
read -r -t 60 word <&"${HOLDER[0]}" || fail "the client does not start: $(cat "$dir/client")"
cat > "$dir/wait.py" << 'END'
# Says how truncate(2) ended.
import errno, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *a: None)
print("ready", flush=True)
try:
    os.truncate(sys.argv[1], 0)
    print("done")
except OSError as e:
    print(errno.errorcode[e.errno])
END

# wait_for_pin: a truncate that waits, in the background; $waiter.
wait_for_pin() {
	printf 'load 0\n' >&"${HOLDER[1]}"
	read -r -t 60 word <&"${HOLDER[0]}" || fail "the client does not answer"
	background python3 "$dir/wait.py" "$mnt/held" > "$dir/wait" 2>&1
	waiter=$!
	until_true 60 pending 1 || fail "truncate of what is pinned does not wait: $(cat "$dir/wait")"
	others_go_on
	same "truncate of what is pinned" "$(cat "$dir/wait")" ready
}

held_size=$(stat -c %s "$mnt/held")
wait_for_pin
kill -USR1 "$waiter"
wait_ended "$waiter" || fail "truncate does not end with a signal"
same "truncate after a signal" "$(tail -n 1 "$dir/wait")" EINTR
same "size after that" "$(stat -c %s "$mnt/held")" "$held_size"
wait_for_pin
# Its mapping was taken away already; without its handle nothing is open when the daemon ends.
fd=${HOLDER[1]}
exec {fd}>&-
wait_ended "$holder" || fail "the client does not end"
until_true 60 only_one || fail "$(requests) requests are not answered when the client ended"
kill -TERM "$daemon"
wait_ended "$waiter" || fail "truncate does not end with the daemon"
same "truncate when the daemon ended" "$(tail -n 1 "$dir/wait")" EINTR
wait_ended "$daemon" || fail "the daemon does not end"
daemon=
same "exit status of the daemon" "$ended" 0
scan_log

step "the pin goes"
mount_pool mapper_timeout=3600000
connect
{ coproc HOLDER { exec "$client" hold "$mnt/held" $kib64 0 2>> "$dir/client"; }; } 2>> "$dir/coproc"
holder=$HOLDER_PID
read -r -t 60 word <&"${HOLDER[0]}" || fail "the client does not start: $(cat "$dir/client")"
wait_for_pin
fd=${LOCK[1]}
exec {fd}>&-
wait_ended "$waiter" || fail "truncate waits for a pin that is gone"
same "truncate of what was pinned" "$(tail -n 1 "$dir/wait")" "done"
same "size after that" "$(stat -c %s "$mnt/held")" 0
fd=${HOLDER[1]}
exec {fd}>&-
wait_ended "$holder" || fail "the client does not end"
finish
