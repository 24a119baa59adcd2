#!/bin/bash
# git: a repository of generated content, commits, clone, gc, fsck.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need git
need_fuse
files=$(scale 100 1000 10000)
export HOME=$dir GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org \
	GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org
make_pool "$(scale 256 512 2048)"
mount_pool

step "a repository of $files files"
git -c init.defaultBranch=main init -q "$mnt/repo"
cd "$mnt/repo"
for ((i = 0; i < files; i++)); do
	[ $((i % 50)) != 0 ] || mkdir -p "d$((i / 50))"
	seq -f "file $i line %g" $((i % 97 + 1)) > "d$((i / 50))/f$i"
done
git add .
git commit -q -m first
for round in 1 2 3 4 5; do
	for ((i = round; i < files; i += 37)); do
		echo "round $round" >> "d$((i / 50))/f$i"
	done
	git commit -q -a -m "round $round"
done

step "clone, gc, fsck"
git clone -q --no-hardlinks "$mnt/repo" "$mnt/clone"
diff -r --exclude=.git "$mnt/repo" "$mnt/clone"
cd "$mnt/clone"
git gc -q --aggressive
git fsck --full --strict
same "status of the clone" "$(git status --porcelain)" ""
same "commits in the clone" "$(git rev-list --count HEAD)" 6
cd "$mnt/repo"
git repack -q -a -d
git fsck --full --strict
cd "$dir"
finish

step "after a remount"
mount_pool
git -C "$mnt/repo" fsck --full --strict
git -C "$mnt/clone" fsck --full --strict
finish
