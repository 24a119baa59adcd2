#!/bin/bash
# inodaxctl folios, pins and map, compared with what tests/dax/holder did, step by step; on files that somebody
# garbled; and on what a killed daemon left.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need python3
holder=$(helper dax/holder)
shm=$dir/shm
answer=$dir/answer
uuid=$(cat /proc/sys/kernel/random/uuid)

# ---- The holder ----------------------------------------------------------------------------------

# start_holder [OPTION...]: on $pool; $held is the inode of its file.
start_holder() {
	local line word
	coproc HOLDER { exec "$holder" "$pool" "$shm" "$@" 2>> "$log"; }
	# shellcheck disable=SC2153 # coproc sets it
	holder_pid=$HOLDER_PID
	read -r -t 60 line <&"${HOLDER[0]}" || fail "the holder did not start: $(cat "$log")"
	read -r word pid held <<< "$line"
	same "the holder said $line:" "$word" ready
}

# ask_holder COMMAND...: $reply is its line.
ask_holder() {
	printf '%s\n' "$*" >&"${HOLDER[1]}"
	read -r -t 60 reply <&"${HOLDER[0]}" || fail "no answer to '$*'"
}

# tell COMMAND...: it succeeds; $reply is what there is to say.
tell() {
	ask_holder "$@"
	[ "${reply%% *}" = ok ] || fail "'$*': $reply"
	reply=${reply#ok}
	reply=${reply# }
}

stop_holder() {
	printf 'quit\n' >&"${HOLDER[1]}"
	wait_ended "$holder_pid" || fail "the holder does not end"
	same "exit status of the holder" "$ended" 0
	same "files of shared memory that are left" "$(ls "$shm")" ''
	scan_log
	check_pool
}

# ---- inodaxctl -----------------------------------------------------------------------------------

# ask EXPRESSION: a Python expression over the last answer, which is `o`.
ask() {
	python3 - "$answer" "$1" <<- 'END'
		import json, sys
		with open(sys.argv[1]) as f:
		    o = json.load(f)
		found = eval(sys.argv[2])
		print(found if isinstance(found, str) else json.dumps(found, sort_keys=True))
	END
}

# look VERB ARGUMENT...: $answer is the JSON.
look() {
	local verb=$1
	shift
	"$ctl" "$verb" --json --shm "$shm" "$@" > "$answer" 2> "$dir/err" ||
		fail "inodaxctl $verb $*: $(cat "$dir/err")"
	same "standard error" "$(cat "$dir/err")" ''
}

# folios WANTED: unit, bytes, references, mappings, pins of each folio, and of each of its grants the last two.
folios() {
	look folios "$pool"
	same "folios" "$(ask '[[f["unit"], f["bytes"], f["refcount"], f["mapcount"], f["pins"],
		[[h["grant"], h["maps"], h["pins"]] for h in f["held_by"]]] for f in o["folios"]]')" "$1"
	same "totals" "$(ask '[o["totals"][k] == sum(f[k] for f in o["folios"])
		for k in ("refcount", "mapcount", "pins", "stale", "limbo")]')" '[true, true, true, true, true]'
}

# flags WANTED: of all that are shown.
flags() {
	same "flags" "$(ask '[[k for k in ("stale", "limbo", "waiters", "poisoned_units") if f[k]]
		for f in o["folios"]]')" "$1"
}

# pins WANTED: offset, bytes, pool offset, count of each.
pins() {
	look pins "$pool"
	same "pins" "$(ask '[[p["offset"], p["bytes"], p["pool_offset"], p["count"]]
		for i in o["inodes"] for p in i["pins"]]')" "$1"
}

# truncates: what is said of truncate is what truncate does.
truncates() {
	local size
	size=$(ask 'o["inodes"][0]["truncate_waits"]')
	ask_holder truncate "$size"
	same "truncate to $size" "$reply" "error 4"
	ask_holder truncate $((size + 1))
	same "truncate to $size + 1" "$reply" ok
}

# ---- What is held --------------------------------------------------------------------------------

step "nothing is held"
make_pool 64 --uuid "$uuid"
expect_error "$shm: cannot open the directory of shared memory: No such file" "$ctl" folios "$pool" --shm "$shm"
start_holder
expect_error '--shm DIR is for a mount with -o shm=DIR' env -u XDG_RUNTIME_DIR "$ctl" folios "$pool"
folios '[]'
pins '[]'
same "table" "$(ask '[o["table"][k] for k in ("pool", "daemon_pid", "live", "accounting", "drain", "layout", "pins",
	"unit", "units")]')" "[\"$pool\", $pid, true, \"head\", \"counter\", \"inodax\", \"inode\", 4096, 16384]"
empty=$(ask 'o["table"]["table_bytes"]')

step "mapped: 2 MiB, two units, one of them by two"
tell fault 0 5
read -r unit bytes <<< "$reply"
same "bytes of a store in 2 MiB that are free" "$bytes" 2097152
big=$((unit - 5))
tell small 0 1024
one=${reply% *}
tell small 0 1025
two=${reply% *}
tell small 1 1024
same "unit" "${reply% *}" "$one"
folios "[[$big, 2097152, 1, 1, 0, [[11, 1, 0]]], [$one, 4096, 2, 2, 0, [[11, 1, 0], [12, 1, 0]]], \
[$two, 4096, 1, 1, 0, [[11, 1, 0]]]]"
flags '[[], [], []]'
same "holders" "$(ask '[[h["pid"], h["inode"]] for h in o["folios"][1]["held_by"]]')" "[[$pid, $held], [-7, $held]]"
same "totals" "$(ask '[o["totals"][k] for k in ("folios_4k", "folios_2m", "folios_1g")]')" '[2, 1, 0]'
same "owners" "$(ask '[[f["owner"], f["share"], f["offset"] == f["unit"] * 4096] for f in o["folios"]]')" \
	'[["exclusive", 0, true], ["exclusive", 0, true], ["exclusive", 0, true]]'
same "the table has grown" "$(ask "o['table']['table_bytes'] > $empty")" true

step "pinned"
tell pin 0 5 3
first_pin=$reply
tell pin 1 1024 1
second_pin=$reply
folios "[[$big, 2097152, 4, 1, 3, [[11, 1, 3]]], [$one, 4096, 3, 2, 1, [[11, 1, 0], [12, 1, 1]]], \
[$two, 4096, 1, 1, 0, [[11, 1, 0]]]]"
pins "[[20480, 12288, $(((big + 5) * 4096)), 3], [4194304, 4096, $((one * 4096)), 1]]"
same "who pinned" "$(ask '[[p[k] for k in ("grant", "pid", "command", "uid", "inode")]
	for p in o["inodes"][0]["pins"]]')" "[[11, $pid, \"holder\", $(id -u), $held], [12, -7, null, $(id -u), $held]]"
same "inode" "$(ask '[[i["inode"], i["count"]] for i in o["inodes"]]')" "[[$held, 4]]"
same "truncate_waits" "$(ask 'o["inodes"][0]["truncate_waits"]')" 4194304
cp --sparse=always -r "$shm" "$dir/copy"
first_pid=$pid

step "the same as text"
"$ctl" folios "$pool" --shm "$shm" > "$dir/text"
line="$one +$((one * 4096)) +4K exclusive +0 +3 +2 +1 - +11 \(pid $pid, inode $held\), 12 \(pid -7, inode $held\)"
grep -Eq "^ *$line$" "$dir/text" || fail "inodaxctl folios: $(cat "$dir/text")"
grep -Fxq "counts    8 references: 4 mapped, 4 pins" "$dir/text" || fail "inodaxctl folios: $(cat "$dir/text")"
"$ctl" pins "$pool" --shm "$shm" > "$dir/text"
grep -Fxq "inode $held: pins: 2; a truncate to 4194304 bytes or less waits for them" "$dir/text" ||
	fail "inodaxctl pins: $(cat "$dir/text")"
truncates
folios "[[$big, 2097152, 4, 1, 3, [[11, 1, 3]]], [$one, 4096, 1, 0, 1, [[12, 0, 1]]]]"

step "a folio of 2 MiB is waited for whole"
tell unpin "$second_pin"
pins "[[20480, 12288, $(((big + 5) * 4096)), 3]]"
same "truncate_waits" "$(ask 'o["inodes"][0]["truncate_waits"]')" $((2097152 - 4096))
truncates
tell unpin "$first_pin"
folios '[]'
pins '[]'
look folios "$pool" --all
same "owned" "$(ask '[[f["unit"], f["bytes"], f["owner"], f["refcount"]] for f in o["folios"]]')" \
	"[[$big, 2097152, \"exclusive\", 0]]"

step "a mapper that does not answer"
tell truncate 16777216
tell small 0 1024
one=${reply% *}
tell small 1 1024
tell silent 1
tell punch 1024 1
folios "[[$one, 4096, 1, 1, 0, [[12, 1, 0]]]]"
flags '[["stale", "limbo"]]'
same "owner" "$(ask 'o["folios"][0]["owner"]')" free
same "limbo" "$(ask '[o["totals"][k] for k in ("stale", "limbo")]')" '[1, 1]'
tell answer 1
folios '[]'
same "limbo" "$(ask '[o["totals"][k] for k in ("stale", "limbo")]')" '[0, 0]'

step "a media error in the middle of 2 MiB"
tell fault 0 5
tell poison 7
folios "[[$big, 2097152, 1, 1, 0, [[11, 1, 0]]]]"
flags '[["poisoned_units"]]'
same "poisoned" "$(ask 'o["totals"]["poisoned"]')" 1
tell cure 7

step "many runs"
runs=$(scale 20000 1200000 5000000)
share=$((runs / 16384 + 1))
tell flood "$runs"
look folios "$pool"
same "references that nothing counts" "$(ask '[h["layouts"] for f in o["folios"] for h in f["held_by"]]')" \
	"[$((share * 512))]"
cp --sparse=always -r "$shm" "$dir/many"
tell flood 0

step "all is given back"
tell unlink
tell unmap 0
tell unmap 1
tell close
look folios "$pool" --all
same "folios" "$(ask 'o["folios"]')" '[]'
same "totals" "$(ask 'set(o["totals"].values()) == {0}')" true
stop_holder

# ---- Other tables --------------------------------------------------------------------------------

step "references on each page, the kernel's layouts"
start_holder page kernel
tell fault 0 0
big=${reply% *}
tell pin 0 2 1
folios "[[$big, 2097152, 513, 512, 1, [[11, 512, 1]]]]"
same "modes" "$(ask '[o["table"][k] for k in ("accounting", "layout")]')" '["page", "kernel"]'
pins "[[8192, 4096, $(((big + 2) * 4096)), 1]]"
same "truncate_waits" "$(ask 'o["inodes"][0]["truncate_waits"]')" null
ask_holder truncate 12582912
same "truncate" "$reply" "error 4"
tell unpin 0
stop_holder

step "a unit of 2 MiB"
make_pool 64 --uuid "$uuid" --unit 2m
start_holder
tell fault 0 3
big=${reply% *}
folios "[[$big, 2097152, 1, 1, 0, [[11, 1, 0]]]]"
same "table" "$(ask '[o["table"][k] for k in ("unit", "units")]')" '[2097152, 32]'
same "offset" "$(ask 'o["folios"][0]["offset"]')" $((big * 2097152))
tell pin 0 3 1
pins "[[6291456, 2097152, $((big * 2097152)), 1]]"
truncates
stop_holder

# ---- What cannot be believed ---------------------------------------------------------------------

# survives VERB ARGUMENT...: it ends by itself, and what it prints is JSON if it succeeds.
survives() {
	local status=0
	timeout 60 "$ctl" "$@" --json --shm "$dir/garbled" > "$answer" 2> "$dir/err" || status=$?
	[ "$status" -le 1 ] || fail "inodaxctl $*: status $status: $(cat "$dir/err"); $seed"
	! grep -Eq "$bad_words" "$dir/err" || fail "inodaxctl $*: $(cat "$dir/err"); $seed"
	[ "$status" = 1 ] && return
	ask 'all(r["pool_offset"] + r["bytes"] <= o["table"]["unit"] * o["table"]["units"]
		for i in o.get("inodes", []) for r in i["pins"])' > "$dir/out" || fail "inodaxctl $*: no JSON; $seed"
	same "runs inside of the pool, with $seed" "$(cat "$dir/out")" true
}

# garble SEED: entries that could be, anything in the words and in the pages of lists.
garble() {
	rm -rf "$dir/garbled"
	cp --sparse=always -r "$shm" "$dir/garbled"
	python3 - "$dir/garbled" "$1" <<- 'END'
		import glob, os, random, struct, sys
		random.seed(int(sys.argv[2]))
		def words(path, first, last, count, make):
		    with open(path, "r+b") as f:
		        for _ in range(count):
		            f.seek(random.randrange(first, last) * 8)
		            f.write(struct.pack("<Q", make()))
		def anything():
		    return random.getrandbits(64) & random.choice((2 ** 64 - 1, 0xff, 0xfff00000ff))
		def run():    # its unit and count may lie beyond the end
		    return random.getrandbits(15) << 28 | random.getrandbits(random.randrange(1, 21)) << 8 | \
		        random.randrange(3) << 6 | random.randrange(3) << 4 | 1
		folios, = glob.glob(sys.argv[1] + "/*.folios")
		grants, = glob.glob(sys.argv[1] + "/*.grants")
		words(folios, 512, os.path.getsize(folios) // 8, random.choice((10, 3000)), anything)
		words(grants, 512 + 18, 1024, random.choice((10, 300)), run)
		words(grants, 1, os.path.getsize(grants) // 8, random.choice((0, 30, 3000)), anything)
		if random.randrange(4) == 0:
		    words(folios, 0, 14, 1, anything)
		if random.randrange(4) == 0:
		    os.truncate(grants, random.randrange(os.path.getsize(grants)))
	END
}

step "garbled tables and lists"
make_pool 64 --uuid "$uuid"
start_holder
for index in 5 1024 2048 3000; do
	tell fault 0 $index
	tell small 1 $index
done
tell pin 0 1024 1
for ((i = 0; i < $(scale 15 40 1000); i++)); do
	seed="seed $i"
	garble $i
	survives folios "$pool" --all
	survives pins "$pool"
done

# refused REGEX NAME OFFSET BYTES: these bytes there in a copy.
refused() {
	rm -rf "$dir/garbled"
	cp --sparse=always -r "$shm" "$dir/garbled"
	printf '%b' "$4" | dd of="$(echo "$dir/garbled"/*."$2")" bs=1 seek="$3" conv=notrunc status=none
	expect_error "$1" "$ctl" folios "$pool" --shm "$dir/garbled"
}
refused "units of 2\^77 bytes" folios 12 '\x4d'
refused "magic is" folios 0 'x'
refused "not what .* map units need" folios 32 '\x00\x00\x00\x01'
refused "$pool: the file of its grants does not begin as one does" grants 0 'x'
rm "$dir/garbled"/*.grants
expect_error "grants: not there" "$ctl" pins "$pool" --shm "$dir/garbled"

step "a table of a larger pool"
"$mkfs" -q -U "$uuid" --size 32m "$pools/smaller"
expect_error "its folio table has 16384 units, the pool has 8192" "$ctl" folios "$pools/smaller" --shm "$shm"

step "what a killed daemon left"
look folios "$pool"
found=$(ask '[[f["unit"], f["refcount"]] for f in o["folios"]]')
kill -KILL "$holder_pid"
wait_ended "$holder_pid" 2>> "$dir/killed" || fail "the holder survives SIGKILL"
look folios "$pool"
same "live" "$(ask 'o["table"]["live"]')" false
same "folios" "$(ask '[[f["unit"], f["refcount"]] for f in o["folios"]]')" "$found"
"$ctl" folios "$pool" --shm "$shm" > "$dir/text"
grep -Fxq "daemon    none; this is what process $pid left when it was killed" "$dir/text" ||
	fail "inodaxctl folios: $(cat "$dir/text")"

step "what is wrong with an argument"
expect_error "$dir/none: No such file" "$ctl" folios "$dir/none"
expect_error "$dir: no inodax pool is mounted on this directory" "$ctl" pins "$dir"
expect_error "$dir/text: not on a mounted inodax pool" "$ctl" map "$dir/text"
expect_error "usage: inodaxctl pins" "$ctl" pins "$pool" --all
expect_error "usage: inodaxctl map" "$ctl" map

# ---- On a mount ----------------------------------------------------------------------------------

if [ ! -c /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	check_pool
	exit 0
fi
step "a mount after it drops what was left"
mount_pool "shm=$shm"
look folios "$mnt"
same "live" "$(ask '[o["table"][k] for k in ("live", "daemon_pid")]')" "[true, $daemon]"
same "totals" "$(ask 'set(o["totals"].values()) == {0}')" true
same "inode" "$(stat -c %i "$mnt/held")" "$held"
same "text" "$("$ctl" map "$mnt/held" --shm "$shm")" "$mnt/held (inode $held): nobody maps it"
look map "$mnt/held"
same "references" "$(ask 'o["references"]')" '[]'
expect_error "$mnt: not a regular file" "$ctl" map "$mnt" --shm "$shm"
ln -s held "$mnt/link"
mkdir "$mnt/directory"
echo hello > "$mnt/other"
expect_error "$mnt/directory: not a regular file" "$ctl" map "$mnt/directory" --shm "$shm"

# The files of shared memory as they were, and an inode of the same number.
step "who maps a file"
shm=$dir/copy
look map "$mnt/link"
same "inode" "$(ask 'o["table"]["inode"]')" "$held"
same "references" "$(ask '[[r[k] for k in ("grant", "kind", "folio_bytes", "offset", "bytes", "count", "refcount_min",
	"refcount_max")] for r in o["references"]]')" "[[11, \"map\", 2097152, 0, 2097152, 1, 4, 4], \
[11, \"pin\", 4096, 20480, 12288, 3, 4, 4], [11, \"map\", 4096, 4194304, 8192, 2, 1, 3], \
[12, \"map\", 4096, 4194304, 4096, 1, 3, 3], [12, \"pin\", 4096, 4194304, 4096, 1, 3, 3]]"
same "pids" "$(ask 'sorted({r["pid"] for r in o["references"]})')" "[-7, $first_pid]"
"$ctl" map "$mnt/held" --shm "$shm" > "$dir/text"
grep -Eq "^ *11 +$first_pid - +map +4K +4194304 +8192 +[0-9]+ +1-3$" "$dir/text" ||
	fail "inodaxctl map: $(cat "$dir/text")"
same "lines" "$(wc -l < "$dir/text")" 6
same "text" "$("$ctl" map "$mnt/other" --shm "$shm")" "$mnt/other (inode $(stat -c %i "$mnt/other")): nobody maps it"

step "many runs, in as many passes as they need"
shm=$dir/many
look map "$mnt/held"
grep '"kind": "layout"' "$answer" | sed 's/.*"offset": \([0-9]*\),.*/\1/' > "$dir/offsets"
same "runs" "$(wc -l < "$dir/offsets")" "$runs"
sort -nuc "$dir/offsets" || fail "inodaxctl map: not in order, or not once each"
finish
