#!/bin/bash
# inodax-bench map: every line is there for each kind of tmpfs, measured or skipped with a reason, and what is counted
# is what has to be; the table has the same lines; nothing is left, also after a signal. How fast anything is, is not
# looked at.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

bench=$top_builddir/inodax-bench
[ -x "$bench" ] || skip "inodax-bench is not built"
need_inodax
need_fuse
need python3 fusermount3
# Where it makes its scratch directories, and what it calls what it measures.
base=$dir/scratch
mkdir "$base" "$dir/bin"
where=()
if [ -z "${INODAX_TEST_PRIVATE:-}" ]; then
	make_pool_dir 400
	base=$pools
	where=(--dir "$base")
fi

# It forks while it has threads, and so do the mappers that come of it start some.
export TSAN_OPTIONS="${TSAN_OPTIONS-}:die_after_fork=0"

# nothing_left: no scratch directory, and no mount below.
nothing_left() {
	same "what is left in $base" "$(ls -A "$base")" ""
	! grep "$base" /proc/self/mountinfo || fail "mounts are left"
}

# run NAME BINDIR ARGUMENTS...: what it says goes to $dir/NAME.
run() {
	local name=$1 bindir=$2
	shift 2
	TMPDIR=$base "$bench" map --bindir "$bindir" --rounds 1 "${where[@]}" "$@" > "$dir/$name" 2>> "$log" ||
		fail "inodax-bench map $*: exit status $?"
}

# Programs without a sanitizer do not load a library with one: fio is left out then.
ln -s "$inodax" "$mkfs" "$dir/bin"
programs=$top_builddir
! grep -q -a -E '__(asan|tsan)_init' "$(elf "$inodax")" || programs=$dir/bin

step "JSON"
run json "$programs" --size 16M --json
nothing_left
huge=0
grep -Eq '\[(force|deny)\]' /sys/kernel/mm/transparent_hugepage/shmem_enabled || huge=1
python3 - "$dir/json" "${where[1]:-}" "$huge" "$programs/inodax-run" > "$dir/names" << 'END'
import json, os, shutil, sys
with open(sys.argv[1]) as f:
    lines = json.load(f)
where, huge = sys.argv[2], sys.argv[3] == "1"
fio = [f"fio mmap {way} {size} random" for size in ("4 KiB", "64 B") for way in ("read", "write")]
pools = list(dict.fromkeys(line["pool"] for line in lines))
assert pools == ([where] if where else ["tmpfs with huge=never", "tmpfs with huge=always"]), pools
for pool in pools:
    of = {line["work"]: line for line in lines if line["pool"] == pool}
    page = next(iter(of.values()))["page_bytes"]
    size = {4096: "4 KiB", 2 << 20: "2 MiB"}[page]
    if huge and not where:
        assert page == (2 << 20 if pool.endswith("always") else 4096), (pool, page)
    wanted = [f"{way} {length} random" for length in ("4 KiB", "64 B") for way in ("load", "store")] + fio + [
        "map, touch all, unmap 16 MiB", f"fault of a {size} page", "map, unmap 4 KiB",
        "the same, nothing else mapped", "truncate 2 MiB, 1 mapper", "truncate 2 MiB, 4 mappers",
        "truncate 2 MiB, 16 mappers"]
    assert list(of) == wanted, list(of)
    for name, line in of.items():
        if name in fio and not (shutil.which("fio") and os.access(sys.argv[4], os.X_OK)):
            assert "fio" in line["skipped"] or "inodax-run" in line["skipped"], line
            assert "ratio" not in line, line
            continue
        beside = "unmapped" if name.startswith("truncate") else "tmpfs"
        assert line["page_bytes"] == page and line["pairs"] > 0 and line["ratio"] > 0, line
        for key in ("operations", "nanoseconds"):
            assert set(line[key]) == {"inodax", beside} and min(line[key].values()) > 0, line
        if name in fio:
            assert line["direct"]["inodax"] == 1, line
        else:
            assert len(set(line["operations"].values())) == 1, line
    # Of a map in whole pages there is no fault in between, and no page without one.
    whole, fault = of["map, touch all, unmap 16 MiB"]["faults"], of[f"fault of a {size} page"]
    assert whole["inodax"] == (16 << 20) // page, whole
    assert fault["faults"]["inodax"] == fault["operations"]["inodax"], fault
    for mappers in (1, 4, 16):
        line = of[f"truncate 2 MiB, {mappers} mapper" + ("s" if mappers > 1 else "")]
        assert line["revoked"]["inodax"] == mappers * line["operations"]["inodax"], line
        assert line["revoked"]["unmapped"] == 0, line
for line in lines:
    print(line["work"])
END

step "the table, without inodax-run"
run table "$dir/bin" --size 16M
nothing_left
grep -Ev '^nanoseconds|, pages of ' "$dir/table" | sed -E 's/( {2,}|skipped:).*//' | diff "$dir/names" - ||
	fail "the table has other lines than the JSON"
same "lines of fio that are skipped" "$(grep -Ec '^fio .*skipped: no (fio|inodax-run) ' "$dir/table")" \
	"$(grep -c '^fio' "$dir/names")"

step "a signal"
TMPDIR=$base "$bench" map --bindir "$top_builddir" --size 64M --rounds 9 "${where[@]}" > "$dir/table" 2>> "$log" &
pid=$!
until_true 60 grep -q '^load' "$dir/table" || fail "nothing was measured after 60 s"
kill -TERM "$pid"
wait_ended "$pid" 2>> "$log" || fail "it does not end"
same "exit status" "$ended" 143
nothing_left

step "what is not understood"
for arguments in --nonsense "--rounds 0" "--rounds 10" "--size 1M" "--size 5M" "--size 16X" "--size 2t" extra; do
	status=0
	# shellcheck disable=SC2086
	"$bench" map $arguments > "$dir/out" 2>&1 || status=$?
	same "exit status of map $arguments" "$status" 2
done

step "a directory that is not there"
expect_error "$dir/none/inodax-bench.*: No such file" "$bench" map --dir "$dir/none"
