#!/bin/bash
# A pool that can map no less than 2 MiB, as device-DAX: files that share such a unit, or lie in pieces, move to units
# of their own when they are mapped, and nothing else about them changes.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

unit=$((2 * mib))

# blocks FILE: of 512 bytes
blocks() {
	stat -c %b "$1"
}

# byte FILE OFFSET: what read(2) has there, as a number
byte() {
	od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' '
}

# direct A|B OFFSET: it is mapped by 2 MiB.
direct() {
	becomes "$1" "$2" direct
	same "size of the entry at $2" "$(shift_of "$1" "$2")" 21
}

small_files() {
	local i
	for ((i = 0; i < 60; i++)); do
		[ "$i" = 7 ] || [ "$(cat "$mnt/$i")" = "file $i" ] || fail "file $i has '$(cat "$mnt/$i")'"
	done
}

make_pool 128 --unit 2m
mount_pool quarantine=0
before=$(free_blocks)
for ((i = 0; i < 60; i++)); do
	printf 'file %s' "$i" > "$mnt/$i"
done

step "a small file is mapped"
same "blocks of a small file" "$(blocks "$mnt/7")" 8
start A "$mnt/7" "$unit" 1
direct A 0
same "blocks of it, mapped" "$(blocks "$mnt/7")" 4096
same "references" "$(counted refcount)" 1
says "what it had" A 102 load 0
says "what it had" A 55 load 5
says "behind that" A 0 load 6
says "a store" A stored store 0 70
same "as read(2) has it" "$(cat "$mnt/7")" "File 7"
same "its size" "$(stat -c %s "$mnt/7")" 6
start B "$mnt/7" 4096 0
direct B 0
says "as another process has it" B 70 load 0
same "references" "$(counted refcount)" 2
stop B
small_files

step "what is stored behind the end is not seen when the file grows"
says "a store behind the end" A stored store 1000000 65
truncate -s $((3 * mib)) "$mnt/7"
says "the same byte" A 0 load 1000000
same "what read(2) has there" "$(byte "$mnt/7" 1000000)" 0
says "a store" A stored store 6 33
printf x | dd of="$mnt/7" bs=1 seek=1500000 conv=notrunc status=none
says "a write" A 120 load 1500000
stop A

step "a part of a unit is punched out, and mapped again"
start A "$mnt/7" $((2 * unit)) 1
direct A 0
says "a store" A stored store 8192 66
fallocate -p -o 4096 -l 4096 "$mnt/7"
says "what is not punched" A 66 load 8192
says "the hole" A 0 load 4096
direct A 0
says "a store into it" A stored store 4097 67
same "as read(2) has it" "$(byte "$mnt/7" 4097)" 67
small_files

step "the file is cut to less than a unit, and grows again"
truncate -s 10000 "$mnt/7"
says "before the end" A 66 load 8192
truncate -s $((4 * mib)) "$mnt/7"
says "behind what was the end" A 0 load 1500000
says "before it" A 66 load 8192
stop A
nothing_held "nobody maps it"
small_files

step "what somebody may store to still does not move"
start B "$mnt/7" "$unit" 1
direct B 0
says "a store" B stored store 20000 71
kill -STOP "$b_pid"
fallocate -p -o 4096 -l 4096 "$mnt/7"
start A "$mnt/7" "$unit" 1
[ "$(kind A 0)" != direct ] || fail "a unit that a stopped client maps in part was moved"
says "what it stored" A 71 load 20000
kill -CONT "$b_pid"
says "a store" B stored store 20001 72
direct A 0
direct B 0
says "as the other has it" A 72 load 20001
says "the hole" B 0 load 4096
stop A
stop B

step "a file in pieces"
for ((i = 0; i < 6; i++)); do
	head -c $((700 * 1024)) /dev/zero | tr '\0' x >> "$mnt/p"
	head -c 8192 /dev/zero | tr '\0' y >> "$mnt/q"
done
truncate -s $((5 * mib)) "$mnt/p"
cp "$mnt/p" "$dir/p"
cp "$mnt/q" "$dir/q"
start A "$mnt/p" $((5 * mib)) 0
start B "$mnt/q" 49152 1
for at in 0 $unit $((2 * unit)); do
	direct A "$at"
done
direct B 40000
says "the last of it" A 120 load $((6 * 700 * 1024 - 1))
says "behind it" A 0 load $((6 * 700 * 1024))
cmp "$mnt/p" "$dir/p"
cmp "$mnt/q" "$dir/q"
stop A
stop B

step "without room for a unit a file is cached"
printf x > "$mnt/some"
fallocate -o $((3 * mib)) -l 4096 "$mnt/some"
truncate -s $((6 * mib)) "$mnt/some" "$mnt/hole"
start B "$mnt/hole" $((2 * unit)) 1
says "a hole" B 0 load 0
fallocate -l $(($(stat -f -c %a "$mnt") * 4096 - mib)) "$mnt/full"
start A "$mnt/9" 4096 1
same "how it is mapped" "$(kind A 0)" cached
says "what it has" A 102 load 0
says "a store" A stored store 0 70
stop A
same "as read(2) has it" "$(cat "$mnt/9")" "File 9"
"$(helper direct/grant_calls)" full "$mnt/some"
printf x | dd of="$mnt/hole" bs=1 seek=4096 conv=notrunc status=none
says "a store where another has written" B stored store 4097 70
says "what it had written" B 120 load 4096
same "as read(2) has it" "$(byte "$mnt/hole" 4097)" 70
stop B

step "with room it is direct"
rm "$mnt/full"
start A "$mnt/8" 4096 1
direct A 0
stop A

step "one unit that cannot be had is no reason for the next"
head -c $((6 * mib)) /dev/zero | tr '\0' z > "$mnt/z"
start A "$mnt/z" $((6 * mib)) 0
direct A 0
direct A $((4 * mib))
stop A
fallocate -p -o $((2 * mib)) -l $((2 * mib)) "$mnt/z"
printf z | dd of="$mnt/z" bs=1 seek=$((2 * mib)) conv=notrunc status=none
nothing_held "before the pool is filled"	# what is let go of later would be room
fallocate -l $(($(stat -f -c %a "$mnt") * 4096 - mib)) "$mnt/full"
start A "$mnt/z" $((6 * mib)) 0
direct A 0
direct A $((4 * mib))
tell A query $((2 * mib))
[[ $reply == "cached "*"no free map unit"* ]] || fail "the unit in between is '$reply'"
says "what it has" A 122 load $((2 * mib))
stop A
rm "$mnt/full"
rm "$mnt"/*
accounts "the end"
finish
