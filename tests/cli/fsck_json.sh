#!/bin/bash
# fsck.inodax --json: one object whatever is found, with the members that its man page names, the findings that
# stand in lines without the option, and the exit status in it.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need python3
answer=$dir/answer

# ask EXPRESSION: a Python expression over the last answer, which is `o`; objects and arrays come as sorted JSON.
ask() {
	python3 - "$answer" "$1" <<- 'END'
		import json, sys
		with open(sys.argv[1]) as f:
		    o = json.load(f)
		found = eval(sys.argv[2])
		print(found if isinstance(found, str) else json.dumps(found, sort_keys=True))
	END
}

# check STATUS [OPTION...]: the object is whole, and says what the process says.
check() {
	local want=$1 status=0
	shift
	"$fsck" --json "$@" "$pool" > "$answer" 2> "$dir/err" || status=$?
	same "exit status of fsck.inodax --json $*" "$status" "$want"
	same "exit in $(cat "$answer")" "$(ask 'o["exit"]')" "$want"
	same "pool" "$(ask 'o["pool"]')" "$pool"
}

# has_report: it and its members are of the types they are said to be.
has_report() {
	local numbers='"blocks blocks_used inodes inodes_used records problems".split()'
	same "error" "$(ask '"error" in o')" false
	same "booleans" "$(ask 'all(type(o["report"][k]) is bool for k in
		("clean", "full_check", "backup_superblock"))')" true
	same "numbers" "$(ask "all(type(o['report'][k]) is int and o['report'][k] >= 0 for k in $numbers)")" true
	same "blocks" "$(ask 'o["report"]["blocks"]')" "$(($(stat -c %s "$pool") / 4096))"
	same "problems" "$(ask 'o["report"]["problems"] == len(o["findings"])')" true
	same "standard error" "$(cat "$dir/err")" ''
}

# documented: the names in the section of the man page.
documented() {
	sed -n '/^\.SH JSON OUTPUT/,/^\.SH EXIT STATUS/p' "$top_srcdir/doc/man/fsck.inodax.8" |
		sed -n 's/^\.BR\{0,1\} \([a-z_]*\)\( [,.]\)\{0,1\}$/\1/p' | sort
}

step "a clean pool"
make_pool 64
mv "$pool" "$pools/"'a "quoted\" name'
pool=$pools/'a "quoted\" name'
check 0 -f
has_report
same "findings" "$(ask 'o["findings"]')" '[]'
same "clean, full_check" "$(ask '[o["report"][k] for k in ("clean", "full_check")]')" '[true, true]'
same "directories, files" "$(ask '[o["report"][k] for k in ("directories", "files")]')" '[1, 0]'
used=$(ask '[o["report"][k] for k in ("blocks_used", "inodes_used")]')

step "options that say how much is printed change nothing"
check 0 -f -q -v -n
same "blocks_used, inodes_used" "$(ask '[o["report"][k] for k in ("blocks_used", "inodes_used")]')" "$used"

if [ -c /dev/fuse ] && [ "$(id -u)" = 0 ]; then
	step "a clean pool, not all passes"
	make_pool 64
	mount_pool
	mkdir "$mnt/directory"
	unmount_pool
	check 0
	has_report
	same "clean, full_check" "$(ask '[o["report"][k] for k in ("clean", "full_check")]')" '[true, false]'
	same "directories, files" "$(ask '[k in o["report"] for k in ("directories", "files")]')" '[false, false]'
	check 0 -f
	has_report
	same "directories, files" "$(ask '[o["report"][k] for k in ("directories", "files")]')" '[2, 0]'

	step "a pool whose daemon was killed"
	mount_pool
	mkdir "$mnt/other"
	kill_daemon
	check 0
	has_report
	same "clean, full_check" "$(ask '[o["report"][k] for k in ("clean", "full_check")]')" '[false, true]'
	same "records" "$(ask 'o["report"]["records"] > 0')" true
fi

# The table of inodes begins behind the journal, the root is number 1 in it; damage goes behind its crc.
step "a damaged inode"
make_pool 64
journal=$("$ctl" info --json "$pool" | python3 -c 'import json, sys; print(json.load(sys.stdin)["journal_bytes"])')
slot=$((3 * 4096 + journal + 256))
head -c 128 /dev/urandom | dd of="$pool" bs=1 seek=$((slot + 64)) conv=notrunc status=none
check 4 -f
has_report
same "full_check" "$(ask 'o["report"]["full_check"]')" true
same "inode-invalid" "$(ask 'sum(f["name"] == "inode-invalid" for f in o["findings"])')" 1
same "severities" "$(ask 'all(f["severity"] in ("warning", "error", "fatal") for f in o["findings"])')" true
same "types" "$(ask 'all(type(f["number"]) is int and type(f["text"]) is str for f in o["findings"])')" true
ask '"\n".join({k for f in o["findings"] for k in f}.union(o["report"], o))' > "$dir/members"

step "the same findings as lines"
ask '"\n".join("%s %d %s: %s" % (f["severity"], f["number"], f["name"], f["text"])
	for f in o["findings"])' > "$dir/json"
status=0
"$fsck" -f -q "$pool" > "$dir/lines" || status=$?
same "exit status of fsck.inodax" "$status" 4
sed -n "s|^$pool: \([a-z]* [0-9]* [a-z-]*: \)|\1|p" "$dir/lines" | diff "$dir/json" - || fail "findings differ"

step "the first superblock is damaged"
make_pool 64
head -c 4000 /dev/urandom | dd of="$pool" bs=1 seek=8 conv=notrunc status=none
check 4 -f
has_report
same "findings" "$(ask '[f["name"] for f in o["findings"]]')" '["super-primary"]'
same "backup_superblock" "$(ask 'o["report"]["backup_superblock"]')" true

step "what cannot be checked"
make_pool 64
truncate -s 0 "$pool"
truncate -s 64M "$pool"
check 8 -f
same "report" "$(ask '"report" in o')" false
same "standard error" "$(cat "$dir/err")" "fsck.inodax: $(ask 'o["error"]')"
same "findings" "$(ask 'o["findings"]')" '[]'
echo error >> "$dir/members"
pool=$dir/none
check 8
same "error" "$(ask '"No such file" in o["error"]')" true

step "the members are those of the man page"
sort "$dir/members" | diff - <(documented) || fail "members differ from doc/man/fsck.inodax.8"

step "options that were not understood"
status=0
"$fsck" --json --nonsense "$pool" > "$answer" 2> "$dir/err" || status=$?
same "exit status" "$status" 16
same "standard output" "$(cat "$answer")" ''
