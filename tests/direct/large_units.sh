#!/bin/bash
# Tests that other pools have too, on pools that map no less than 2 MiB.
set -Eeuo pipefail
export INODAX_TEST_UNIT=2m INODAX_TEST_QUICK=1
[ -z "${INODAX_TEST_DEVICE:-}" ] || { echo "SKIP: a device has a map unit of its own" && exit 77; }
result=77
for test in map pins holes lifetime; do
	printf '== %s.sh\n' "$test"
	status=0
	bash "${top_srcdir:-.}/tests/direct/$test.sh" || status=$?
	case $status in
	0) result=0 ;;
	77) ;;
	*) exit "$status" ;;
	esac
done
exit "$result"
