#!/bin/bash
# doc/mirror.md: every row is there once, says on what it is shown, and names tests that exist.
# shellcheck disable=SC2016
set -euo pipefail

top_srcdir=${top_srcdir:-.}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Which rows there have to be.
rows() {
	printf '1.1.%d\n' {1..13}
	printf '1.2.%d\n' {1..7}
	printf '1.3.%d\n' {1..7}
	printf '1.4.%d\n' {1..20}
	printf '1.5.%d\n' {1..7}
	printf '1.6.%s\n' {1..7} {a..l}
	printf '4.%d\n' {1..42}
	printf 'I%d\n' {1..10}
}

# test_exists NAME: "program: test", or a file.
test_exists() {
	local source="$top_srcdir/tests/unit/${1%%: *}.c"
	case $1 in
	tests/*)	[ -f "$top_srcdir/$1" ] ;;
	*': '*)		[ -f "$source" ] && grep -q "^START_TEST(${1#*: })" "$source" ;;
	*)		return 1 ;;
	esac
}

# check FILE: what is wrong with it, a line each.
check() {
	local row kernel ours shown tests name
	grep -E '^\| (I?[0-9]|1\.6)' "$1" > "$dir/table" || true
	sed -E 's/^\| ([^ ]+) \|.*/\1/' "$dir/table" | sort > "$dir/found"
	rows | sort > "$dir/wanted"
	comm -13 "$dir/found" "$dir/wanted" | sed 's/$/: no such row/'
	comm -23 "$dir/found" "$dir/wanted" | sed 's/$/: not a row, or twice/'
	while IFS='|' read -r _ row kernel ours shown tests _; do
		row=${row// /}
		[[ $shown =~ ^\ (table|sim|files)\ $ ]] || printf '%s: shown on "%s"\n' "$row" "$shown"
		[[ -n ${kernel// /} && -n ${ours// /} ]] || printf '%s: says nothing\n' "$row"
		grep -o '`[^`]*`' <<< "$tests" | tr -d '`' > "$dir/tests" || printf '%s: no test\n' "$row"
		while IFS= read -r name; do
			test_exists "$name" || printf '%s: there is no test "%s"\n' "$row" "$name"
		done < "$dir/tests"
	done < "$dir/table"
}

# A page with one mistake of each kind: the check has to see it.
sed -e '/^| 1\.4\.7 |/d' -e 's/^| 4\.3 |/| 4.99 |/' -e '/^| I5 |/s/`[^`]*`//g' -e '/^| 1\.2\.5 |/s/: an_/: no_/' \
	-e '/^| 1\.1\.9 |/s/| sim |/| hope |/' "$top_srcdir/doc/mirror.md" > "$dir/planted.md"
check "$dir/planted.md" > "$dir/seen"
if [ "$(wc -l < "$dir/seen")" != 6 ]; then
	printf 'of 6 findings in a page with mistakes these were made:\n'
	cat "$dir/seen"
	exit 1
fi
check "$top_srcdir/doc/mirror.md" > "$dir/wrong"
cat "$dir/wrong"
[ ! -s "$dir/wrong" ]
