#!/bin/bash
# A file in more pieces than a process may have mappings: the first thousand are mapped as they lie, the rest is moved
# together, under whoever maps it. All of it is direct.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

# As many pieces as blocks. In the quick form less than would be needed.
blocks=$(scale 8192 70144 70144)
length=$((blocks * 4096))
few=2000

# mappings PID: how many it has
mappings() {
	wc -l < "/proc/$1/maps"
}

# pieces BLOCKS: $mnt/f has that many, each with its number, and no two lie together: every other block is all there is.
pieces() {
	fallocate -l $(($1 * 2 * 4096)) "$mnt/g"
	fallocate -l $((($(stat -f -c %a "$mnt") - $1 / 64 - 256) * 4096)) "$mnt/rest"
	python3 - "$mnt/f" "$mnt/g" "$1" <<- 'END'
		import ctypes, os, sys
		libc = ctypes.CDLL(None, use_errno=True)
		f, g = (os.open(p, os.O_RDWR | os.O_CREAT, 0o644) for p in sys.argv[1:3])
		for i in range(int(sys.argv[3])):
		    if libc.fallocate(g, 3, ctypes.c_long(i * 8192), ctypes.c_long(4096)):
		        sys.exit("fallocate: " + os.strerror(ctypes.get_errno()))
		for i in range(int(sys.argv[3])):
		    os.pwrite(f, b"%08d" % i * 512, i * 4096)
	END
	rm "$mnt/rest"
}

# all_direct A|B: nothing of it is anything else.
all_direct() {
	local at=0 what offset bytes
	while [ "$at" -lt "$length" ]; do
		tell "$1" query "$at"
		read -r what offset bytes _ <<< "$reply"
		[ "$what" = direct ] || return 1
		at=$((offset + bytes))
	done
}

make_pool $((blocks * 4 / 256))
need_small_units
mount_pool
before=$(free_blocks)
pieces "$blocks"

step "a process that maps a few of them has them as they lie"
start B "$mnt/f" $((few * 4096)) 1
same "references" "$(counted refcount)" "$few"
[ "$(mappings "$b_pid")" -ge 500 ] || fail "the file is not in pieces: $(mappings "$b_pid") mappings"

step "a process that maps all has it direct, with few mappings"
start A "$mnt/f" "$length" 1
until_true 60 all_direct A || fail "not all of it is direct: $reply"
[ "$(mappings "$a_pid")" -lt 2500 ] || fail "it takes $(mappings "$a_pid") mappings"
same "references of both" "$(counted refcount)" $((blocks + few))

step "what it has is what it had"
python3 - "$mnt/f" "$blocks" <<- 'END' || fail "the file has changed"
	import sys
	f = open(sys.argv[1], "rb")
	sys.exit(any(f.read(4096) != b"%08d" % i * 512 for i in range(int(sys.argv[2]))))
END
says "a store" A stored store $((length - 1)) 65
same "as read(2) has it" "$(tail -c 1 "$mnt/f")" A
says "a load" A 48 load $((3 * mib))

step "who mapped it before has it still"
says "a store" B stored store 100 66
says "as the other has it" A 66 load 100
stop B

step "what is mapped by others moves too"
start B "$mnt/f" "$length" 0
until_true 60 all_direct B || fail "not all of it is direct: $reply"
says "a store" A stored store $((5 * mib)) 67
says "as the other has it" B 67 load $((5 * mib))
stop A
stop B

step "what a stopped client may store to does not move"
rm "$mnt/f" "$mnt/g"
nothing_held "the files are gone"
pieces 6000
start B "$mnt/f" $((4000 * 4096)) 1
kill -STOP "$b_pid"
start A "$mnt/f" $((6000 * 4096)) 1
says "what it has" A 48 load $((3 * mib))
kill -CONT "$b_pid"
for ((at = 0; at < 4000; at += 40)); do
	says "a store" B stored store $((at * 4096)) $((at % 200))
done
for ((at = 0; at < 4000; at += 40)); do
	says "as the other has it" A $((at % 200)) load $((at * 4096))
done
stop A
stop B

step "accounts"
rm "$mnt/f" "$mnt/g"
accounts "the end"
finish
