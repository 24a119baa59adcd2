#!/bin/bash
# The part of testing-tree.sh that runs inside the tree: installs, builds in an empty directory, runs the
# tests that show whether newer libfuse and gcc are all right. In a copy of the sources that may be changed.
#
#	tests/newer/in-tree.sh BUILD_DIRECTORY
set -euo pipefail

src=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?usage: in-tree.sh BUILD_DIRECTORY}
logs=$build/logs
fuse_tests='tests/fuse/basic.sh tests/fuse/fio_verify.sh tests/fuse/model.sh tests/fuse/syscalls.sh
	tests/newer/features.sh'

# logged NAME COMMAND...: what it says goes to a log; of a failed one the end is shown.
logged() {
	local name=$1 status=0
	shift
	printf '== %s\n' "$name"
	"$@" > "$logs/$name.log" 2>&1 < /dev/null || status=$?
	[ "$status" = 0 ] || tail -n 40 "$logs/$name.log"
	return "$status"
}

compile() {
	cd "$src"
	autoreconf -fi
	cd "$build"
	"$src/configure" --enable-developer
	make -j"$(nproc)"
	make -j"$(nproc)" check TESTS=
}

run_tests() {
	make -C "$build" -j"$(nproc)" check VERBOSE=1 TESTS="$1"
}

mkdir -p "$logs"
logged install "$src/scripts/install-deps.sh"
gcc --version | head -n 1
printf 'libfuse %s, liburing %s, libpmem2 %s\n' "$(pkg-config --modversion fuse3)" \
	"$(pkg-config --modversion liburing)" "$(pkg-config --modversion libpmem2)"
logged build compile
cd "$src"
logged unit run_tests "$(find tests/unit -name 'check_*.c' | sed 's/\.c$//' | sort | tr '\n' ' ')"
logged fuse run_tests "$(printf '%s' "$fuse_tests" | tr '\n\t' '  ')"
grep -hE '^(PASS|SKIP): ' "$logs/unit.log" "$logs/fuse.log" | sort | sed 's/^/   /'
sed 's/^/   /' "$build/tests/newer/features.log"
if grep -qE '^SKIP: ' "$logs/unit.log" "$logs/fuse.log"; then
	printf 'skipped tests show nothing here; all have to run\n'
	exit 1
fi
