#!/bin/bash
# One file mapped by entries of 2 MiB and of 4 KiB at once: stores are seen both ways, references are counted on the
# folio, and it is revoked whole.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

# fill_whole FILE: 4 MiB of the letter x, allocated at once, so that they can be mapped by 2 MiB.
fill_whole() {
	fallocate -l $((4 * mib)) "$1"
	head -c $((4 * mib)) /dev/zero | tr '\0' x | dd of="$1" bs=1M iflag=fullblock conv=notrunc status=none
}

need_huge_pages
mount_tmpfs always 256
make_pool 64
need_small_units
mount_pool

step "the first comer sets the size: 2 MiB, then a part of it by 4 KiB"
fill_whole "$mnt/f"
start A "$mnt/f" $((4 * mib)) 1
same "size of A's" "$(shift_of A 0)" 21
same "references of A's two" "$(counted refcount)" 2
start B "$mnt/f" 8192 1
same "size of B's" "$(shift_of B 0)" 12
same "references, and B's two on the head" "$(counted refcount)" 4
same "mappings" "$(counted mapcount)" 4
says "A's store" A stored store 4097 65
says "seen by B" B 65 load 4097
says "B's store" B stored store 4098 66
says "seen by A" A 66 load 4098
same "seen by read" "$(dd if="$mnt/f" bs=1 skip=4097 count=2 status=none)" AB

step "a punched block revokes all of the folio, for both, and nothing else changes"
fallocate -p -o 12288 -l 4096 "$mnt/f"
says "the hole" A 0 load 12288
says "before it" A 65 load 4097
says "behind it" A 120 load 16384
says "before it" B 66 load 4098
says "the other folio" A 120 load $((2 * mib))
becomes A 0 direct
becomes B 0 direct
same "size of what has a block of another place in it" "$(shift_of A 0)" 12
same "size of what nobody touched" "$(shift_of A $((2 * mib)))" 21
says "A's store" A stored store 4099 67
says "seen by B" B 67 load 4099
stop B
stop A
nothing_held "after both"
rm "$mnt/f"

step "the first comer sets the size: 4 KiB, then all of it"
fill_whole "$mnt/g"
start B "$mnt/g" 8192 1
same "size of B's" "$(shift_of B 0)" 12
start A "$mnt/g" $((4 * mib)) 1
same "size of A's, where B is" "$(shift_of A 0)" 12
same "size of A's, where nobody is" "$(shift_of A $((2 * mib)))" 21
says "B's store" B stored store 5 70
says "seen by A" A 70 load 5
says "A's store" A stored store 8191 71
says "seen by B" B 71 load 8191
same "references" "$(counted refcount)" $((512 + 1 + 2))
stop A
stop B
nothing_held "after both"
finish
unmount_tmpfs
