#!/bin/bash
# The daemon and plain writers together in a memory cgroup that is far too small for what they write through
# shared mappings: nobody waits for ever, nobody is killed.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need_fuse
mmap_fill=$(helper fuse/mmap_fill)
limit=$(scale 256 96 96)
size=$(scale 128 96 512)
writers=4
group=

test_cleanup() {
	[ -z "$group" ] || rmdir "$group"
}

# make_group: $group, with its limit; cgroup v2, or v1 where the memory controller is there.
make_group() {
	local v2 v1
	v2=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
	v1=$(findmnt -n -o TARGET -t cgroup -O memory | head -n 1)
	if [ -n "$v2" ] && grep -qw memory "$v2/cgroup.subtree_control"; then
		mkdir "$v2/inodax-test.$$" || skip "no cgroup can be made in $v2"
		group=$v2/inodax-test.$$
		echo $((limit << 20)) > "$group/memory.max"
		echo 0 > "$group/memory.swap.max" || true
	elif [ -n "$v1" ]; then
		mkdir "$v1/inodax-test.$$" || skip "no cgroup can be made in $v1"
		group=$v1/inodax-test.$$
		echo $((limit << 20)) > "$group/memory.limit_in_bytes"
	else
		skip "there is no memory controller for cgroups below here"
	fi
}

killed_in_group() {
	cat "$group"/memory.events "$group"/memory.oom_control 2> "$dir/err" | sed -n 's/^oom_kill //p' || true
}

# ThreadSanitizer faults in memory of its own at any access: a daemon that may not say that it is part of
# write-back (PR_SET_IO_FLUSHER takes CAP_SYS_RESOURCE) then waits in reclaim for what it is to write itself.
if ldd "$inodax" | grep -q libtsan && ! capsh --has-p=cap_sys_resource 2> "$dir/err"; then
	skip "with ThreadSanitizer it takes CAP_SYS_RESOURCE, which is not to be had here"
fi
make_pool 1024
make_group
# shellcheck disable=SC2016
printf '#!/bin/sh\necho $$ > "%s/cgroup.procs"\nexec "$@"\n' "$group" > "$dir/in_group"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$dir/in_group" "$inodax" > "$dir/inodax"
chmod 755 "$dir/in_group" "$dir/inodax"
inodax=$dir/inodax

for dax in always never; do
	step "dax=$dax, $writers writers of $size MiB in $limit MiB"
	mount_pool "dax=$dax"
	grep -qx "$daemon" "$group/cgroup.procs" || fail "the daemon is not in $group"
	writing=()
	for ((i = 0; i < writers; i++)); do
		background "$dir/in_group" "$mmap_fill" "$mnt/$i" "$size"
		writing+=("$!")
	done
	for pid in "${writing[@]}"; do
		until_true 300 gone "$pid" || fail "writer $pid has not ended after 300 s: $(cat "/proc/$pid/wchan")"
		wait "$pid" || fail "writer $pid: status $?"
	done
	rm "$mnt"/*
	finish
done
same "processes killed for want of memory" "$(killed_in_group)" 0
