#!/bin/bash
# Include directions: a module includes its own layer and what stands below (doc/design.md); flushes and
# fences are lib/pmem's, libpmem2 too, FUSE headers src/daemon's. What breaks a rule is printed as file:line:
# text.
set -euo pipefail

top_srcdir=${top_srcdir:-.}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# engines TREE: the files of the lower half of lib/meta, as lib/meta/Makefile.inc links them.
engines() {
	sed -n '/^libmeta_engine_la_SOURCES/,/[^\\]$/p' "$1/lib/meta/Makefile.inc" | grep -o 'lib/meta/[a-z_]*\.[ch]'
}

# allowed FILE: what it may include in quotes, as an extended regular expression for the whole name.
allowed() {
	case $1 in
	lib/util/*)	echo 'util/.*' ;;
	lib/pmem/*)	echo '(util|pmem)/.*|format\.h' ;;
	lib/meta/*)
		if grep -qx "$1" "$dir/engines"; then
			echo "(util|pmem)/.*|format\.h|$engine_headers"
		else
			echo '(util|pmem|meta)/.*|dax/iomap\.h|format\.h'
		fi ;;
	lib/dax/*)	echo '(util|dax)/.*' ;;
	lib/fs/*)	echo '(util|pmem|meta|dax|fs)/.*|format\.h|direct\.h' ;;
	lib/check/*)	echo '(util|pmem|meta|check)/.*|format\.h' ;;
	lib/client/*)	echo "(util|pmem|client)/.*|format\.h|direct\.h|inodax\.h|config\.h|$engine_headers" ;;
	lib/preload/*)	echo '(util|preload)/.*|client/(client|mm)\.h|inodax\.h' ;;
	lib/format.h)	echo 'util/le\.h' ;;
	lib/direct.h)	echo '-' ;;
	src/daemon/*)	echo '(util|daemon)/.*|fs/(fs|grants)\.h|direct\.h|meta/dir\.h|config\.h' ;;
	src/mkfs/*)	echo '(util|mkfs)/.*|fs/fs\.h|meta/super\.h|pmem/region\.h|config\.h' ;;
	src/fsck/*)	echo '(util|fsck)/.*|check/check\.h|pmem/region\.h|config\.h' ;;
	src/ctl/*)	echo '(util|ctl)/.*|dax/(folio|grant|shm)\.h|inodax\.h|config\.h' ;;
	src/bench/*)	echo '(util|bench)/.*|dax/pgmap\.h|inodax\.h|bench\.h|config\.h' ;;
	src/run/*)	echo '(util|run)/.*|config\.h' ;;
	*)		echo "no rule for $1 in tests/layers.sh" >&2; return 1 ;;
	esac
}

# violations TREE
violations() {
	local file regex
	engines "$1" > "$dir/engines"
	engine_headers=$(sed -n 's,^lib/\(meta/.*\)\.h$,\1\\.h,p' "$dir/engines" | paste -sd '|')
	(
		cd "$1"
		find lib src -name '*.[ch]' | sort | while read -r file; do
			regex=$(allowed "$file") || exit 1
			grep -HnE '^[ \t]*#[ \t]*include[ \t]*"' "$file" | grep -vE "include[ \t]*\"($regex)\"" || true
		done
		grep -rnE --include='*.[ch]' '#[ \t]*include[ \t]*<(libpmem|liburing)' lib src |
			grep -v '^lib/pmem/' || true
		grep -rnE --include='*.[ch]' '#[ \t]*include[ \t]*<(fuse|linux/fuse)' lib src |
			grep -v '^src/daemon/' || true
		grep -rnE --include='*.[ch]' \
			-e '\bpmem2?_[a-z]+ ?\(|_mm_(clwb|clflush|clflushopt|sfence|stream)' \
			-e '\b(clwb|clflush|sfence|movnt)' lib src | grep -v '^lib/pmem/' || true
	)
}

# A tree that breaks each rule once: the check has to see it.
plant() {
	mkdir -p "$dir/bad"/lib/{util,pmem,meta,fs,check,client} "$dir/bad"/src/{daemon,ctl}
	printf 'libmeta_engine_la_SOURCES = lib/meta/tx.c \\\n\tlib/meta/tx.h\nlibmeta_la_SOURCES = lib/meta/dir.c\n' \
		> "$dir/bad/lib/meta/Makefile.inc"
	echo '#include "pmem/region.h"' > "$dir/bad/lib/util/a.c"
	echo '#include "meta/tx.h"' > "$dir/bad/lib/pmem/b.c"
	echo '#include "meta/dir.h"' > "$dir/bad/lib/meta/tx.c"
	echo '#include "fs/fs.h"' > "$dir/bad/lib/meta/dir.c"
	echo '#include <fuse_lowlevel.h>' > "$dir/bad/lib/fs/c.c"
	echo '#include "fs/fs.h"' > "$dir/bad/lib/check/d.c"
	echo '#include "meta/dir.h"' > "$dir/bad/lib/client/e.c"
	echo '#include "check/check.h"' > "$dir/bad/src/daemon/f.c"
	echo '#include <libpmem2.h>' > "$dir/bad/src/ctl/g.c"
	echo 'void h(void) { _mm_sfence(); }' > "$dir/bad/lib/fs/h.c"
	echo '#include "meta/tx.h"' > "$dir/bad/lib/meta/tx.h"	# allowed
}

plant
violations "$dir/bad" > "$dir/planted"
if [ "$(wc -l < "$dir/planted")" != 10 ]; then
	printf 'of 10 planted violations these were found:\n'
	cat "$dir/planted"
	exit 1
fi
violations "$top_srcdir" > "$dir/found"
cat "$dir/found"
[ ! -s "$dir/found" ]
