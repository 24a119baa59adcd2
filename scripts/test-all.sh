#!/bin/bash
# Installs what is missing, builds in every way that is tested, and runs all tests; the last line tells how
# many.
#
#	scripts/test-all.sh [STAGE...]		of: gcc clang asan tsan distcheck; default all of them
#
# The sources are copied, the copy is prepared by autoreconf, and each stage builds in a directory of its own:
# the tree this is called in is not touched. A stage's output is in a log of its own; of a failed stage the
# end is shown and the logs stay. INODAX_TEST_FULL=1 makes the gcc stage run the long form of the tests.
set -uo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/inodax-test-all.XXXXXX")
mkdir "$work/src" "$work/logs"
jobs=$(nproc)
[ "$jobs" -le 4 ] || jobs=4
passed=0
failed=0
skipped=0
# The environment of a make above is not for the makes below.
unset MAKEFLAGS MFLAGS MAKELEVEL
unset TESTS

# ---- Stages: each runs in an empty directory of its own --------------------------------------------

# build CONFIGURE_ARGUMENT...
build() {
	"$work/src/configure" "$@" && make -j"$jobs"
}

# check [TESTS]: without an argument all of them.
check() {
	make -j"$jobs" check VERBOSE=1 ${1:+TESTS="$1"}
}

# names PATTERN...: the tests whose sources match, as make knows them.
names() {
	(cd "$work/src" && find "$@" | sed 's/\.c$//' | sort | tr '\n' ' ')
}

unit_tests() {
	names tests/unit -name 'check_*.c'
}

stage_gcc() {
	build CC=gcc --enable-developer && check
}

stage_clang() {
	build CC=clang --enable-developer &&
		check "$(unit_tests) tests/format_doc.sh tests/layers.sh tests/mirror_doc.sh tests/fuse/basic.sh"
}

# A sanitizer makes everything slow: the short form of the tests. Warnings are left to the stages above: with what
# sanitizers add to the code, gcc sees dangers that are not there.
short_form() {
	export INODAX_TEST_QUICK=1 CK_TIMEOUT_MULTIPLIER=20
	unset INODAX_TEST_FULL
}

stage_asan() {
	short_form
	export UBSAN_OPTIONS=print_stacktrace=1
	build CC=gcc --enable-asan --enable-ubsan CFLAGS='-g -O1' && check
}

# ThreadSanitizer needs an address space without too much randomness.
stage_tsan() {
	local fixed=()
	! setarch -R true 2> /dev/null || fixed=(setarch -R)
	short_form
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$work/src/scripts/tsan.supp
	build CC=gcc --enable-tsan CFLAGS='-g -O1' &&
		"${fixed[@]}" make -j"$jobs" check VERBOSE=1 TESTS="$(unit_tests) tests/fuse/basic.sh \
			tests/direct/grants.sh tests/direct/holes.sh tests/direct/lifetime.sh tests/direct/map.sh \
			tests/direct/parked.sh tests/direct/pins.sh tests/direct/quarantine.sh tests/direct/units.sh \
			tests/fuse/append.sh tests/fuse/fio_verify.sh \
			tests/fuse/kill9.sh tests/fuse/model.sh tests/fuse/syscalls.sh"
}

stage_distcheck() {
	short_form
	"$work/src/configure" && make -j"$jobs" distcheck VERBOSE=1 \
		TESTS="$(unit_tests) $(names tests/cli -name '*.sh') tests/format_doc.sh tests/layers.sh \
			tests/mirror_doc.sh tests/fuse/basic.sh"
}

# ---- Running them ------------------------------------------------------------------------------------

say() {
	printf '%s\n' "$*"
}

# count RESULT LOG: sum over the summaries that make check prints at its end.
count() {
	awk -v result="$1:" '
		/^Testsuite summary/		{ summary = 1 }
		summary && $2 == result		{ n += $3 }
		summary && $2 == "ERROR:"	{ summary = 0 }
		END				{ print n + 0 }
	' "$2"
}

# skips STAGE LOG: the tests that were skipped, each with its reason where its own log is still there.
skips() {
	local line path
	grep '^SKIP: tests/.*\.sh$' "$2" | sort -u | while IFS= read -r line; do
		path=${line#SKIP: }
		printf '%s%s\n' "$line" "$(sed -n 's/^SKIP: /: /p;T;q' "$work/$1/${path%.sh}.log" 2> /dev/null)"
	done
}

# show_failure STAGE LOG
show_failure() {
	say "-- $1: the end of $2"
	tail -n 60 "$2"
	say "-- $1 failed; all of it is in $2"
}

run_stage() {
	local name=$1 log=$work/logs/$1.log start=$SECONDS status=0 p f s
	mkdir "$work/$name"
	(cd "$work/$name" && "stage_$name") > "$log" 2>&1 < /dev/null || status=$?
	p=$(count PASS "$log")
	f=$(($(count FAIL "$log") + $(count XPASS "$log") + $(count ERROR "$log")))
	s=$(($(count SKIP "$log") + $(count XFAIL "$log")))
	# It failed, but no test did: it did not build, or ended before the summary.
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	printf '%-10s %5d s  %d passed, %d failed, %d skipped\n' "$name" $((SECONDS - start)) "$p" "$f" "$s"
	{
		grep -E '^(FAIL|XPASS|ERROR): ' "$log" | sort -u
		skips "$name" "$log"
	} | sed 's/^/           /'
	[ "$f" = 0 ] || show_failure "$name" "$log"
	chmod -R u+w "$work/$name" && rm -rf "${work:?}/$name"
}

prepare() {
	"$top/scripts/install-deps.sh" && "$top/scripts/copy-sources.sh" "$work/src" && cd "$work/src" && autoreconf -fi
}

main() {
	local start=$SECONDS stage log=$work/logs/prepare.log
	if ! (prepare) > "$log" 2>&1 < /dev/null; then
		show_failure prepare "$log"
		say "0 passed, 1 failed, 0 skipped"
		exit 1
	fi
	printf '%-10s %5d s\n' prepare $((SECONDS - start))
	for stage; do
		run_stage "$stage"
	done
	printf '%-10s %5d s\n' all $((SECONDS - start))
	rm -rf "$work/src"
	if [ "$failed" = 0 ]; then
		rm -rf "$work"
	fi
	say "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
}

for stage; do
	declare -F "stage_$stage" > /dev/null || {
		say "$stage: not a stage; gcc, clang, asan, tsan, distcheck are" >&2
		exit 2
	}
done
[ $# -gt 0 ] || set -- gcc clang asan tsan distcheck
main "$@"
