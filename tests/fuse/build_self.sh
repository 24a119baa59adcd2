#!/bin/bash
# Builds these sources inside the mount and runs their unit tests there.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need make gcc tar
need_fuse
[ "${INODAX_TEST_QUICK:-0}" != 1 ] || skip "takes too long for the quick form"
make_pool 1024
mount_pool

step "copy of the sources"
mkdir "$mnt/src" "$mnt/tmp"
"$top_srcdir/scripts/copy-sources.sh" "$mnt/src"
cd "$mnt/src"
tests=$(for file in tests/unit/check_*.c; do printf '%s ' "${file%.c}"; done)

step "configure"
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS
export TMPDIR=$mnt/tmp
if [ ! -x configure ]; then
	need autoreconf libtoolize
	autoreconf -fi > "$dir/autoreconf.log" 2>&1 || fail "autoreconf: $(tail -n 20 "$dir/autoreconf.log")"
fi
./configure --enable-developer > "$dir/configure.log" 2>&1 || fail "configure: $(tail -n 20 "$dir/configure.log")"
step "make"
make -j2 > "$dir/make.log" 2>&1 || fail "make: $(tail -n 20 "$dir/make.log")"
step "unit tests"
make -j2 check TESTS="$tests" > "$dir/check.log" 2>&1 || fail "make check: $(tail -n 40 "$dir/check.log")"
grep -E '^# (TOTAL|PASS):' "$dir/check.log"
./mkfs.inodax --version
cd "$dir"
unset TMPDIR
finish
