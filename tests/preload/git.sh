#!/bin/bash
# git under inodax-run, which maps packs and the index: the repository comes out as it does elsewhere, and a plain git
# finds nothing wrong with it.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
need git
files=$(scale 50 150 5000)
export HOME=$dir GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org \
	GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org GIT_AUTHOR_DATE='1700000000 +0000' \
	GIT_COMMITTER_DATE='1700000000 +0000'
make_pool "$(scale 256 512 2048)"
mount_pool
git config --global init.defaultBranch main
git config --global gc.auto 0

# g ARGUMENT...: git as $how says.
g() {
	if [ "$how" = run ]; then
		"$run" --explain="$dir/explained" git "$@"
	else
		git "$@"
	fi
}

# work DIRECTORY: a repository there, with commits, branches and a merge, and a clone of it.
work() {
	local top=$1 i round
	g init -q "$top/repo"
	cd "$top/repo"
	for ((i = 0; i < files; i++)); do
		[ $((i % 50)) != 0 ] || mkdir -p "d$((i / 50))"
		seq -f "file $i line %g" $((i % 97 + 1)) > "d$((i / 50))/f$i"
	done
	g add .
	g commit -q -m first
	for round in 1 2; do
		for ((i = round; i < files; i += 17)); do
			echo "round $round" >> "d$((i / 50))/f$i"
		done
		g commit -q -a -m "round $round"
		g gc -q
	done
	g checkout -q -b other HEAD~1
	echo other > d0/other
	g add d0/other
	g commit -q -m other
	g checkout -q main
	g merge -q -m merge other
	g repack -q -a -d -f
	cd "$dir"
	g clone -q --no-hardlinks "$top/repo" "$top/clone"
	echo more >> "$top/clone/d0/f1"
	g -C "$top/clone" commit -q -a -m more
	g -C "$top/repo" pull -q "$top/clone" main
	g -C "$top/clone" gc -q --aggressive
}

# describe DIRECTORY: what has to be the same wherever it lies.
describe() {
	local of
	for of in repo clone; do
		git -C "$1/$of" log --format='%H %T %s' main
		git -C "$1/$of" ls-tree -r main
		git -C "$1/$of" status --porcelain
	done
}

step "a repository of $files files, elsewhere"
how=plain
mkdir "$dir/plain"
work "$dir/plain"

step "the same under inodax-run"
how=run
work "$mnt"
nothing_held "git"
grep -q '\.pack, .*: direct [0-9]' "$dir/explained" || fail "no pack was mapped directly"
grep -q '/index, .*: direct [0-9]' "$dir/explained" || fail "no index was mapped directly"
! grep -E 'not direct|cached [0-9]' "$dir/explained" > "$dir/other" || fail "not direct: $(head -5 "$dir/other")"

step "what came out"
describe "$dir/plain" > "$dir/want"
describe "$mnt" > "$dir/found"
cmp "$dir/want" "$dir/found" || fail "it is not what it is elsewhere: $(diff "$dir/want" "$dir/found" | head -10)"
for of in repo clone; do
	g -C "$mnt/$of" fsck --full --strict > "$dir/fsck" 2>&1 || fail "fsck under inodax-run: $(cat "$dir/fsck")"
	git -C "$mnt/$of" fsck --full --strict > "$dir/fsck" 2>&1 || fail "fsck: $(cat "$dir/fsck")"
	diff -r --exclude=.git "$dir/plain/$of" "$mnt/$of" || fail "files of $of are not as elsewhere"
done
nothing_held "git"
finish
