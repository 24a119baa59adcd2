#!/bin/bash
# Copies the sources, and nothing that was built from them, to an empty directory: what git has or would add;
# of a tree that is not git's, all but the products of a build in it.
#
#	scripts/copy-sources.sh DIRECTORY
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
to=${1:?usage: copy-sources.sh DIRECTORY}

cd "$top"
if [ "$(git rev-parse --show-toplevel 2> /dev/null)" = "$top" ]; then
	# Files that were removed and not yet committed as such are in the list too.
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar --null --files-from=- -cf - | tar -C "$to" -xf -
else
	tar --exclude=.git --exclude=.libs --exclude=.deps --exclude=.dirstamp --exclude='*.o' --exclude='*.l[oa]' \
		--exclude=autom4te.cache --exclude='*.trs' --exclude='*.log' --exclude=./Makefile \
		--exclude=./config.status --exclude=./config.h --exclude=./libtool --exclude=./stamp-h1 -cf - . |
		tar -C "$to" -xf -
fi
