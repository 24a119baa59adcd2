#!/bin/bash
# System calls that no program of the shell's makes, with and without the page cache: tests/fuse/syscalls.c.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_fuse
syscalls=$(helper fuse/syscalls)
cases='holes locks tmpfile unlinked'
[ "$(id -u)" != 0 ] || cases="handle $cases"
for dax in always never; do
	make_pool 64
	mount_pool "dax=$dax"
	for case in $cases; do
		step "$case, dax=$dax"
		mkdir "$mnt/$case"
		status=0
		"$syscalls" "$case" "$mnt/$case" || status=$?
		[ "$status" = 0 ] || [ "$status" = 77 ] || fail "$case: status $status"
	done
	finish
done
