#!/bin/bash
# What each system call says in each case it can be asked for, compared with ext4: tests/errno.
#
# Both are mounted with the same rules for access times. A difference is an error unless it stands below with
# its reason; and what stands there has to differ.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need_fuse
need losetup mkfs.ext4 mount
losetup -f > "$dir/losetup" 2>&1 || skip "there are no loop devices"
table=$(helper errno/errno_table)
options=strictatime,suid,dev

# Groups that are left out of the short form.
leave_out=()
[ "${INODAX_TEST_QUICK:-0}" != 1 ] || leave_out=(-s emlink -s inherit -s perm-dir)

patterns=()
reasons=()

# allow REASON PATTERN...: cases that may differ, as shell patterns.
allow() {
	local reason=$1
	shift
	for pattern; do
		patterns+=("$pattern")
		reasons+=("$reason")
	done
}

# library_has OPERATION: does libfuse have it?
library_has() {
	grep -q "^#define HAVE_STRUCT_FUSE_LOWLEVEL_OPS_$1 1" "$top_builddir/config.h"
}

allow_everywhere() {
	allow "ext4 ends at 16 TiB - 4 KiB, inodax at 8 EiB - 1" \
		truncate/16tib 'truncate/2^63-1' 'truncate/2^63-4096' 'truncate/fd-2^63-1' \
		'fallocate/sum-2^63-1' fallocate/beyond-16tib fallocate/beyond-16tib-keep-size \
		fallocate/punch-everything seek/set-16tib 'seek/set-2^63-1' 'io/write-2^63-2' \
		io/write-16tib-minus-4k-minus-1 io/write-16tib-minus-4k io/write-16tib copy/target-16tib
	allow "FUSE knows neither collapsing nor inserting of ranges" \
		fallocate/collapse fallocate/collapse-odd fallocate/insert
	allow "there are no whiteouts" rename/whiteout rename/whiteout-over
	allow "an unlinked inode lives as long as an open file, not as a working directory or O_PATH" \
		open/path-then-unlink-fstat names/stat-removed-dot names/open-removed-dot
	allow "FUSE sends O_APPEND with writes of RWF_NOAPPEND too" io/pwritev2-no-append
	allow "FUSE does not tell the kernel of immutable and append-only: access(2) and mmap(2) do not ask" \
		flags/immutable-file-access-write.root flags/immutable-file-access-write.owner \
		flags/immutable-directory-access-write-directory.root \
		flags/immutable-directory-access-write-directory.owner flags/append-file-before-map.root
	allow "ext4 takes attributes that it does not keep" \
		flags/fsx-set-extent-size flags/fsx-set-extent-size-and-flag flags/fsx-set-realtime
	allow "ext4 keeps projects only if made for it" \
		flags/fsx-set-project flags/fsx-set-project-inherit flags/fsx-set-project.root \
		flags/fsx-set-project.owner
	allow "FUSE sends chown(-1, -1) as an empty setattr" 'chown/chown-suid-nothing.*' time/chown-nothing
	allow "FUSE_HANDLE_KILLPRIV_V2 leaves setgid without group execution to whoever is not in the group" \
		'setid/*-02767.other'
	allow "a copy within the pool is no read of its source, as a reflink is none" time/copy-file-range
	allow "FUSE does not tell of a mapping that nothing was read through" time/map
	library_has TMPFILE || allow "libfuse cannot do it" 'tmpfile/*'
	library_has STATX || allow "libfuse cannot do it" stat/statx-birth
}

allow_for_dax() {
	if [ "$1" = always ]; then
		allow "direct I/O looks at the buffer first" io/read-bad-pointer-at-end
	else
		allow "the kernel's page cache writes nothing" io/write-half-bad-pointer
		allow "the kernel's page cache knows the end" time/read-at-end
	fi
}

# run_inodax DAX: to $dir/inodax.
run_inodax() {
	make_pool "$(scale 256 384 384)"
	mount_pool "$options,dax=$1"
	mkdir "$mnt/cases"
	"$table" "${leave_out[@]}" "$mnt/cases" > "$dir/inodax"
	unmount_pool
	mount_pool "$options,dax=$1,ro"
	"$table" "$mnt/cases" readonly >> "$dir/inodax"
	finish
}

# To $dir/ext4. In the place of the pool: what ends the test unmounts it.
run_ext4() {
	make_pool_dir 800
	pool=$pools/ext4
	truncate -s 384M "$pool"
	mkfs.ext4 -q -b 4096 -O ea_inode -I 256 -N 98304 "$pool"
	mount -o loop,strictatime "$pool" "$mnt" || skip "ext4 cannot be mounted on a loop device"
	mkdir "$mnt/cases"
	"$table" "${leave_out[@]}" "$mnt/cases" > "$dir/ext4"
	mount -o remount,ro "$mnt"
	"$table" "$mnt/cases" readonly >> "$dir/ext4"
	unmount_pool
	rm "$pool"
}

# allowed CASE: and remember which pattern it was.
allowed() {
	local i found=1
	for i in "${!patterns[@]}"; do
		# shellcheck disable=SC2053
		if [[ $1 == ${patterns[i]} ]]; then
			differ[i]=1
			found=0
		fi
	done
	return "$found"
}

compare() {
	local name wanted got wrong=0 i
	differ=()
	while IFS=$'\t' read -r name wanted got; do
		if ! allowed "$name"; then
			printf '%s\n\text4:   %s\n\tinodax: %s\n' "$name" "$wanted" "$got"
			wrong=$((wrong + 1))
		fi
	done < <(join -t $'\t' <(sed 's/: /\t/' "$dir/ext4" | sort -t $'\t' -k 1,1) \
		<(sed 's/: /\t/' "$dir/inodax" | sort -t $'\t' -k 1,1) | awk -F '\t' '$2 != $3')
	for i in "${!patterns[@]}"; do
		[ -n "${differ[i]:-}" ] ||
			fail "${patterns[i]} is allowed to differ (${reasons[i]}) and does not"
	done
	[ "$wrong" = 0 ] || fail "$wrong cases differ"
}

# Both have the same cases, all of which came to their call.
check_lists() {
	local list
	for list in ext4 inodax; do
		! grep -n 'SETUP' "$dir/$list" || fail "$list: fixtures of the above failed"
		sed 's/: .*//' "$dir/$list" > "$dir/$list.names"
	done
	cmp "$dir/ext4.names" "$dir/inodax.names" || fail "the lists of cases differ"
	same "repeated names: $(sort "$dir/ext4.names" | uniq -d): their number" \
		"$(sort "$dir/ext4.names" | uniq -d | wc -l)" 0
}

step "ext4"
run_ext4
for dax in $(scale always 'always never' 'always never'); do
	step "inodax, dax=$dax: $(wc -l < "$dir/ext4") cases"
	run_inodax "$dax"
	check_lists
	patterns=()
	reasons=()
	allow_everywhere
	allow_for_dax "$dax"
	compare
done
