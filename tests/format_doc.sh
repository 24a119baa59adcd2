#!/bin/sh
# Holds doc/format.md against lib/format.h: each structure with the offset, size and name of every field, and each
# constant with its value. Differences are shown as a diff, "<" for the header and ">" for the page.
set -eu

top=${srcdir:-.}
header=$top/lib/format.h
page=$top/doc/format.md
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"${top_builddir:-.}"/tests/format_table > "$dir/header"

# Tables: "## Title: `struct X`, N bytes" opens one, the next heading ends it. Rows: | offset | size | name | ...
awk -F' *[|] *' '
	/^#/		{ name = ""; constants = ($0 == "## Constants") }
	/^#.*`struct [a-z_]+`, [0-9]+ bytes$/ {
		name = $0; sub(/.*`struct /, "", name); sub(/`.*/, "", name)
		size = $0; sub(/ bytes$/, "", size); sub(/.* /, "", size)
		print name " - " size " -"
	}
	name && $2 ~ /^[0-9]+$/		{ print name " " $2 " " $3 " " $4 }
	constants && $2 ~ /^[A-Z_0-9]+$/	{ print "constant " $2 " " $3 }
' "$page" > "$dir/page"

sort "$dir/header" > "$dir/a"
sort "$dir/page" > "$dir/b"
status=0
diff "$dir/a" "$dir/b" || status=1

# What the header has and tests/format_table.c forgot.
awk '/^struct disk_[a-z_]+ [{]/ { print $2 " - " }
     /^#define [A-Z][A-Z_0-9]*[ \t]/ { print "constant " $2 " " }' "$header" | while read -r start; do
	grep -q "^$start " "$dir/header" || echo "not in tests/format_table.c: $start"
done > "$dir/missing"
if [ -s "$dir/missing" ]; then
	cat "$dir/missing"
	status=1
fi
exit $status
