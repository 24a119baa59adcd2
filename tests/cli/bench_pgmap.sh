#!/bin/bash
# inodax-bench pgmap: the table and the JSON have the same lines, every one with numbers that can be, and what the
# command does not know is refused. How fast anything is, is not looked at.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

bench=$top_builddir/inodax-bench
[ -x "$bench" ] || skip "inodax-bench is not built"
need python3

step "JSON"
"$bench" pgmap --short --rounds 1 --json > "$dir/json" || fail "exit status $?"
python3 - "$dir/json" > "$dir/names" << 'END'
import json, sys
with open(sys.argv[1]) as f:
    lines = json.load(f)
for line in lines:
    keys = set(line) - {"expected"}
    assert keys in ({"work", "nanoseconds", "times_atomic_add"}, {"work", "bytes"}), line
    assert all(line[k] > 0 for k in line if k != "work"), line
    print(line["work"])
bytes_of = {line["work"]: line["bytes"] for line in lines if "bytes" in line}
assert bytes_of["table bytes a TiB, order 0"] <= 2 << 30, bytes_of
assert bytes_of["table bytes a TiB, order 9"] <= 4 << 20, bytes_of
assert len({line["work"] for line in lines}) == len(lines)
END

step "the table"
"$bench" pgmap --short --rounds 1 > "$dir/table" || fail "exit status $?"
tail -n +2 "$dir/table" | sed 's/ \{2,\}.*//' | diff "$dir/names" - || fail "the table has other lines than the JSON"

step "what is not understood"
for arguments in --nonsense "--rounds 0" "--rounds 10" extra; do
	status=0
	# shellcheck disable=SC2086
	"$bench" pgmap $arguments > "$dir/out" 2>&1 || status=$?
	same "exit status of pgmap $arguments" "$status" 2
done
