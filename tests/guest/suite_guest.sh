#!/bin/bash
# Tests as they are, with their pools on persistent memory: runs in a guest, as
#
#	guest.sh 6.12 tests/guest/suite_guest.sh KIND,... TEST...
#
# KIND: ext4, xfs, dax4k, dax2m or small2m (pools.sh). TEST: tests/direct/map.sh and the like, in their quick form.
# Those that copy their pool, or know its size, need it to be a file: ext4 or xfs. Those that fill it take minutes on
# dax4k and dax2m.
# shellcheck disable=SC2154	# init.sh sets it
# shellcheck source=tests/guest/pools.sh
. "$top_srcdir/tests/guest/pools.sh"
export INODAX_TEST_QUICK=1 INODAX_TEST_TIMEOUT=240
IFS=, read -r -a kinds <<< "$1"
shift
failed=()
for kind in "${kinds[@]}"; do
	use_kind "$kind"
	for test; do
		status=0 began=$SECONDS
		bash "$top_srcdir/$test" > /tmp/test.out 2>&1 || status=$?
		case $status in
		0) printf 'ok: %s %s, %s s\n' "$kind" "$test" $((SECONDS - began)) ;;
		77) printf 'skipped: %s %s: %s\n' "$kind" "$test" "$(tail -n 1 /tmp/test.out)" ;;
		*)
			printf 'not ok: %s %s, status %s, %s s\n' "$kind" "$test" "$status" $((SECONDS - began))
			tail -n 30 /tmp/test.out | sed 's/^/   /'
			failed+=("$kind:$test") ;;
		esac
	done
done
[ ${#failed[@]} = 0 ] || { printf 'FAIL: %s\n' "${failed[*]}" && exit 1; }
