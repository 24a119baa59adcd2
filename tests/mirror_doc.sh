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
	printf '5.%s\n' {1..69} 19b
	printf 'I%d\n' {1..10}
}

# test_exists NAME: "program: test", a file, or "script: beginning of a step".
test_exists() {
	local source="$top_srcdir/tests/unit/${1%%: *}.c"
	case $1 in
	tests/*.sh:\ *)	[ -f "$top_srcdir/${1%%: *}" ] && grep -q -F "step \"${1#*: }" "$top_srcdir/${1%%: *}" ;;
	tests/*)	[ -f "$top_srcdir/$1" ] ;;
	*': '*)		[ -f "$source" ] && grep -q "^START_TEST(${1#*: })" "$source" ;;
	*)		return 1 ;;
	esac
}

# forms ROW: what it may be shown on. What programs see may be shown there alone, or not at all.
forms() {
	case $1 in
	5.*)	echo '^ ((table|sim|files)(, live)?|live|-) $' ;;
	*)	echo '^ (table|sim|files)(, live)? $' ;;
	esac
}

# in_rows ROW, named_in_rows TESTS: "yes" where tests/preload/rows.c has a function for the row, and where it is named.
in_rows() {
	! grep -q -F "{ \"${1#5.}\", " "$top_srcdir"/tests/preload/rows_*.c || echo yes
}

named_in_rows() {
	[[ $1 != *tests/preload/rows.sh:* ]] || echo yes
}

# check FILE: what is wrong with it, a line each.
check() {
	local row kernel ours shown tests name by_script
	grep -E '^\| (I?[0-9]|1\.6)' "$1" > "$dir/table" || true
	sed -E 's/^\| ([^ ]+) \|.*/\1/' "$dir/table" | sort > "$dir/found"
	rows | sort > "$dir/wanted"
	comm -13 "$dir/found" "$dir/wanted" | sed 's/$/: no such row/'
	comm -23 "$dir/found" "$dir/wanted" | sed 's/$/: not a row, or twice/'
	while IFS='|' read -r _ row kernel ours shown tests _; do
		row=${row// /}
		[[ $shown =~ $(forms "$row") ]] || printf '%s: shown on "%s"\n' "$row" "$shown"
		[[ -n ${kernel// /} && -n ${ours// /} ]] || printf '%s: says nothing\n' "$row"
		# Real mappings are the business of scripts; what they show is shown live.
		by_script=
		[[ $tests != *tests/direct/* && $tests != *tests/preload/* ]] || by_script=live
		live=
		[[ ,${shown//[ ,]/,}, != *,live,* ]] || live=live
		[ "$live" = "$by_script" ] ||
			printf '%s: shown on "%s", by %s\n' "$row" "$shown" "$tests"
		grep -o '`[^`]*`' <<< "$tests" | tr -d '`' > "$dir/tests" || [ "$shown$tests" = ' -  - ' ] ||
			printf '%s: no test\n' "$row"
		[ "$(named_in_rows "$tests")" = "$(in_rows "$row")" ] ||
			printf '%s: in rows.c, or by it, alone\n' "$row"
		[ "$shown" != ' - ' ] || [ "$tests" = ' - ' ] || printf '%s: not shown, by %s\n' "$row" "$tests"
		while IFS= read -r name; do
			test_exists "$name" || printf '%s: there is no test "%s"\n' "$row" "$name"
		done < "$dir/tests"
	done < "$dir/table"
}

# A page with one mistake of each kind: the check has to see it.
sed -e '/^| 1\.4\.7 |/d' -e 's/^| 4\.3 |/| 4.99 |/' -e '/^| I5 |/s/`[^`]*`//g' -e '/^| 1\.2\.5 |/s/: an_/: no_/' \
	-e '/^| 1\.1\.10 |/s/| sim |/| hope |/' -e '/^| 4\.20 |/s/sim, live/sim/' \
	-e '/^| 4\.11 |/s/: through munmap/: beyond munmap/' -e '/^| 4\.36 |/s/| table |/| - |/' \
	-e '/^| 5\.47 |/s/| - |$/| `check_fault: h_the_extent_is_short` |/' \
	-e '/^| 5\.13 |/s,`[^`]*`,`tests/preload/rows.sh: holes`,' "$top_srcdir/doc/mirror.md" > "$dir/planted.md"
check "$dir/planted.md" > "$dir/seen"
if [ "$(wc -l < "$dir/seen")" != 13 ]; then
	printf 'of 13 findings in a page with mistakes these were made:\n'
	cat "$dir/seen"
	exit 1
fi
check "$top_srcdir/doc/mirror.md" > "$dir/wrong"
cat "$dir/wrong"
[ ! -s "$dir/wrong" ]
