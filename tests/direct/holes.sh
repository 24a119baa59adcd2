#!/bin/bash
# Holes of maps for stores: a load takes no blocks, a store - of a thread, a system call, a signal handler - takes those
# that it needs, and what others put into a hole is seen at once. And what is done where stores cannot be seen.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

holes=$(helper direct/hole_client)
make_pool 192
unit=$(map_unit)
# Scattered, each takes a unit.
count=$(scale 1000 10000 10000)
[ $((count * unit)) -le $((64 * mib)) ] || count=$((64 * mib / unit))
mount_pool hole_limit=2

# ---- One program ---------------------------------------------------------------------------------

# holes VERB WANTED [ARGUMENT...]: of a file of its own.
holes() {
	local verb=$1 wanted=$2 status=0
	shift 2
	timeout 300 "$holes" "$verb" "$mnt/$verb" "$@" > "$dir/out" 2> "$dir/err" < /dev/null || status=$?
	[ "$status" != 77 ] || skip "$(cat "$dir/out")"
	[ "$status" = 0 ] || fail "hole_client $verb: status $status: $(cat "$dir/err")"
	same "hole_client $verb" "$(cat "$dir/out")" "$wanted"
	rm "$mnt/$verb"
	nothing_held "after hole_client $verb"
}

head -c $((3 * mib)) /dev/urandom > "$mnt/other"
step "threads that store to the same blocks"
holes threads "nothing is lost"
step "system calls"
holes system "the kernel loads and stores" "$mnt/other"
step "signal handlers"
holes handler "handlers store"
step "a run of stores"
holes run "a run is stored"
step "fork"
holes fork "both have the hole"
step "descriptors closed"
holes closed "nothing is lost"
step "unmapped while a thread stores"
holes unmap "unmapped"

step "1 TiB, $count stores"
before=$(free_blocks)
coproc CLIENT { exec "$holes" random "$mnt/tib" $((1 << 40)) "$count" 2> "$dir/err"; }
# shellcheck disable=SC2153 # coproc sets it
client_pid=$CLIENT_PID
read -r -t 300 word units <&"${CLIENT[0]}" || fail "hole_client random: $(cat "$dir/err")"
same "hole_client random" "$word" units
blocks=$((units * unit / 4096))
used=$((before - $(free_blocks)))
if [ "$used" -lt "$blocks" ] || [ "$used" -gt $((blocks + blocks / 64 + 16)) ]; then
	fail "$used blocks of the pool are used, $blocks were stored to"
fi
same "references" "$(counted refcount)" "$units"
printf '\n' >&"${CLIENT[1]}"
wait_ended "$client_pid" || fail "hole_client random does not end"
same "exit status of hole_client random: $(cat "$dir/err")" "$ended" 0
nothing_held "after 1 TiB"
rm "$mnt/tib"

step "SIGKILL"
coproc CLIENT { exec "$holes" storm "$mnt/storm" 2> "$dir/err"; }
client_pid=$CLIENT_PID
read -r -t 60 word <&"${CLIENT[0]}" || fail "hole_client storm: $(cat "$dir/err")"
sleep 0.5
kill -KILL "$client_pid"
wait_ended "$client_pid" 2>> "$dir/coproc" || fail "a client that stores survives SIGKILL"
nothing_held "after SIGKILL"
rm "$mnt/storm"

# ---- Several -------------------------------------------------------------------------------------

for write in 1 0; do
	step "filled by others, seen by a map with stores: $write"
	truncate -s 0 "$mnt/filled"
	truncate -s $((64 * mib)) "$mnt/filled"
	start A "$mnt/filled" $((64 * mib)) "$write"
	start B "$mnt/filled" $((64 * mib)) 1
	for n in 1 2 3 4; do
		says "before" A 0 load $((n * 5000000))
		says "a store" B stored store $((n * 5000000)) "$n"
		says "after a store of another" A "$n" load $((n * 5000000))
		printf '\101' | dd of="$mnt/filled" bs=1 seek=$((n * 5000000 + 100000)) conv=notrunc status=none
		says "after write()" A 65 load $((n * 5000000 + 100000))
		says "beside it" A 0 load $((n * 5000000 + 200000))
	done
	says "after write()" B 65 load 5100000
	becomes A 5000000 direct
	becomes A 5100000 direct
	becomes A 40000000 zero
	stop A
	stop B
	nothing_held "after two clients"
done

step "truncate and punch"
start A "$mnt/filled" $((64 * mib)) 1
says "a hole" A 0 load $((50 * mib))
truncate -s $((48 * mib)) "$mnt/filled"
says "beyond" A sigbus load $((50 * mib))
says "beyond" A sigbus store $((60 * mib)) 1
says "below" A 0 load $((47 * mib))
says "below" A stored store $((47 * mib)) 9
truncate -s $((64 * mib)) "$mnt/filled"
becomes A $((50 * mib)) zero
says "grown" A 0 load $((50 * mib))
says "grown" A stored store $((50 * mib)) 3
fallocate -p -o $((47 * mib)) -l $((4 * mib)) "$mnt/filled"
says "punched" A 0 load $((47 * mib))
says "punched" A 0 load $((50 * mib))
says "punched" A stored store $((50 * mib + 1)) 4
same "read" "$(dd if="$mnt/filled" bs=1 skip=$((50 * mib + 1)) count=1 status=none | od -An -tu1 | tr -d ' ')" 4
says "the file through the page cache" A 4 load $((50 * mib + 1))
python3 - "$mnt/filled" $((50 * mib)) $((52 * mib)) <<- 'END'
	import mmap, sys
	there, hole = int(sys.argv[2]), int(sys.argv[3])
	with open(sys.argv[1], "r+b") as f:
	    with mmap.mmap(f.fileno(), 0) as m:
	        assert m[there + 1] == 4 and m[hole] == 0
	        m[hole] = 77
	        m.flush()
END
says "stored by mmap(2)" A 77 load $((52 * mib))
says "a store" A stored store $((53 * mib)) 78
same "read" "$(dd if="$mnt/filled" bs=1 skip=$((53 * mib)) count=1 status=none)" N
becomes A $((53 * mib)) direct
says "direct again" A 78 load $((53 * mib))
becomes A $((55 * mib)) zero
stop A
nothing_held "after truncate and punch"

step "no space"
truncate -s 0 "$mnt/filled"
truncate -s $((64 * mib)) "$mnt/filled"
start A "$mnt/filled" $((64 * mib)) 1
says "a hole" A 0 load 0
dd if=/dev/zero of="$mnt/full" bs=1M status=none 2>> "$dir/full" && fail "the pool never is full"
dd if=/dev/zero of="$mnt/full2" bs=4096 status=none 2>> "$dir/full" && fail "the pool never is full"
says "full" A sigbus store 0 1
tell A query 0
same "why" "$reply" "lost 0 $unit 0 no space for the blocks of a hole"
says "beside it" A 0 load $((2 * unit))
rm "$mnt/full" "$mnt/full2"
becomes A 0 zero
says "there is space" A stored store 0 1
becomes A 0 direct
stop A
nothing_held "after no space"

# ---- Where stores cannot be seen -----------------------------------------------------------------

step "a user without userfaultfd"
need setpriv
# Others may not look into the build directory, nor into that of the sources.
as=(env TSAN_OPTIONS="${TSAN_OPTIONS-}:suppressions=" setpriv --reuid=65534 --regid=65534 --clear-groups)
mkdir "$dir/bin"
cp "$(elf "$client")" "$dir/bin/map_client"
cp -L "$top_builddir/.libs/libinodax.so.0" "$dir/bin/"
client=$dir/bin/map_client
export LD_LIBRARY_PATH=$dir/bin
chmod 666 "$pool" "$mnt/filled"
truncate -s 0 "$mnt/filled"
truncate -s $((64 * mib)) "$mnt/filled"
start A "$mnt/filled" "$mib" 1
what=$(kind A 0)
[ "$what" != zero ] || skip "ordinary users have a userfaultfd here, or none was needed"
same "a small hole" "$what" direct
[ "$(stat -c %b "$mnt/filled")" -ge $((mib / 512)) ] || fail "a small hole has $(stat -c %b "$mnt/filled") sectors"
says "a store" A stored store 5 1
start B "$mnt/filled" $((64 * mib)) 1
tell B query 0
[[ $reply == "cached "*"no userfaultfd: "* ]] || fail "a large hole is '$reply'"
says "a store" B stored store $((2 * mib)) 2
same "read" "$(dd if="$mnt/filled" bs=1 skip=$((2 * mib)) count=1 status=none | od -An -tu1 | tr -d ' ')" 2
stop A
stop B
nothing_held "after an ordinary user"
finish
