#!/bin/bash
# Each stressor of stress-ng's class "filesystem": none may fail here that does not fail on tmpfs too.
#
# A stressor runs here first, and on tmpfs if it failed: what passes here needs no comparison. In the long
# form each runs for 5 s on both, and a table of operations a second is printed.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need stress-ng
need_fuse
seconds=$(scale 1 1 5)

# They mount, load or ask for things of the whole machine, or never touch the directory they are given.
left_out=' binderfs bind-mount dnotify eventfd fanotify ioprio procfs '

make_pool "$(scale 512 1024 4096)"
mount_pool
mkdir "$mnt/stress" "$pools/stress"
chmod 777 "$mnt/stress" "$pools/stress"

# stress NAME DIRECTORY: what would fill the pool is kept from it, that is not the question here.
stress() {
	local limit=()
	case $1 in
	fallocate | hdd | iomix)	limit=("--$1-bytes" 128m) ;;
	esac
	timeout -k 20 $((seconds + 60)) stress-ng --"$1" 2 --timeout "${seconds}s" --temp-path "$2" "${limit[@]}" \
		--verify --metrics-brief > "$dir/$1.out" 2>&1 < /dev/null
}

rate() {
	awk -v name="$1" '$4 == name && $5 ~ /^[0-9]+$/ { print $9 }' "$dir/$1.out"
}

failed_on_both=
for name in $(stress-ng --class 'filesystem?' 2>&1 | sed -n "s/^class 'filesystem' stressors: //p"); do
	[[ $left_out != *" $name "* ]] || continue
	status=0
	stress "$name" "$mnt/stress" || status=$?
	here=$(rate "$name")
	reference=0
	if [ "$status" != 0 ] || [ "${INODAX_TEST_FULL:-0}" = 1 ]; then
		cp "$dir/$name.out" "$dir/here.out"
		stress "$name" "$pools/stress" || reference=$?
		printf '%-12s status %d, %s ops/s; on tmpfs status %d, %s ops/s\n' "$name" "$status" "$here" \
			"$reference" "$(rate "$name")"
	fi
	if [ "$status" != 0 ]; then
		[ "$reference" != 0 ] ||
			fail "$name fails here (status $status) and not on tmpfs: $(cat "$dir/here.out")"
		failed_on_both="$failed_on_both $name"
	fi
	mounted || fail "the mount is gone after $name"
	[ "$fstyp" != inodax ] || ! gone "$daemon" || fail "the daemon is gone after $name"
done
[ -z "$failed_on_both" ] || printf 'failed on tmpfs too:%s\n' "$failed_on_both"
# A stressor that was ended may have left what only root may change, and he not yet.
chattr -R -f -ia "$mnt/stress" || true
rm -rf "$mnt/stress"
finish
