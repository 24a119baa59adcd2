#!/bin/bash
# A tree with everything tar can carry: out, in again, and the same by rsync. Contents and metadata are the
# same.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need tar rsync getfattr setfattr
need_fuse
make_pool "$(scale 128 256 1024)"
mount_pool
src=$mnt/src

step "the tree"
mkdir -p "$src/dir/with space/ünïcode" "$src/empty" "$src/many"
seq 100000 > "$src/dir/numbers"
ln "$src/dir/numbers" "$src/dir/with space/hard link"
ln -s ../numbers "$src/dir/with space/symlink"
ln -s "$(printf 'x/%.0s' {1..1000})" "$src/dir/long-symlink"
ln -s /nowhere "$src/dir/dangling"
mkfifo "$src/dir/fifo"
truncate -s 10M "$src/dir/sparse"
printf 'in the middle' | dd of="$src/dir/sparse" bs=1 seek=5000000 conv=notrunc status=none
truncate -s 0 "$src/dir/nothing"
for ((i = 0; i < $(scale 200 2000 20000); i++)); do
	echo "$i" > "$src/many/$i"
done
echo x > "$src/$(printf 'n%.0s' {1..255})"
setfattr -n user.text -v value "$src/dir/numbers"
setfattr -n user.binary -v 0x00ff01 "$src/dir"
setfattr -n user.long -v "$(printf 'v%.0s' {1..3000})" "$src/dir/nothing"
chmod 4711 "$src/dir/nothing"
chmod 1777 "$src/empty"
chmod "$([ "$(id -u)" = 0 ] && echo 0 || echo 400)" "$src/many/1"
touch -d '1969-12-31 23:59:58.5 UTC' "$src/many/2"
touch -d '2100-01-01 00:00:00.999999999 UTC' "$src/many/3"
touch -h -d '1999-09-09 UTC' "$src/dir/dangling"
if [ "$(id -u)" = 0 ]; then
	mknod "$src/dir/null" c 1 3
	chown 12345:54321 "$src/many/4"
	chown -h 1:2 "$src/dir/dangling"
	setfattr -n trusted.name -v secret "$src/many/5"
fi
cp -a "$top_srcdir/lib" "$src/sources"
# rsync leaves times alone that agree to the second: those of copies made just now must not.
find "$src" -depth ! -name 2 ! -name 3 ! -name dangling -exec touch -h -d '2020-02-02 02:02:02.123456789 UTC' {} +

# metadata TREE: all of it but times that reading and listing move; size and blocks only where contents decide
# them.
metadata() {
	(
		cd "$1"
		find . -type d -printf '%P d %m %U %G %n %T@\n' -o -printf '%P %y %m %U %G %n %s %T@ %l\n' | sort
		getfattr -R -h -d -m - . | sort
		stat -c '%t %T' dir/null 2> /dev/null || true
		stat -c 'hard links %h' dir/numbers
		[ "$(stat -c %i dir/numbers)" = "$(stat -c %i 'dir/with space/hard link')" ] ||
			echo "not the same inode"
		stat -c 'sparse blocks %b' dir/sparse
	) > "$dir/metadata.$2"
}

# compare TREE NAME
compare() {
	diff -r --no-dereference --exclude=fifo --exclude=null "$src" "$1"
	metadata "$1" "$2"
	diff "$dir/metadata.src" "$dir/metadata.$2" || fail "metadata of $1 differ"
}

metadata "$src" src
step "tar out and in"
mkdir "$mnt/tar"
tar --xattrs --xattrs-include='*' --sparse --numeric-owner -C "$src" -cf "$mnt/tree.tar" .
tar --xattrs --xattrs-include='*' --numeric-owner -p -C "$mnt/tar" -xf "$mnt/tree.tar"
compare "$mnt/tar" tar

step "rsync"
rsync -aHAXS "$src/" "$mnt/rsync/"
compare "$mnt/rsync" rsync
rsync -naHAXi --checksum --delete "$src/" "$mnt/rsync/" > "$dir/rsync.out"
[ ! -s "$dir/rsync.out" ] || fail "rsync finds differences: $(cat "$dir/rsync.out")"
finish

step "after a remount"
mount_pool
compare "$mnt/src" again
compare "$mnt/tar" again
finish
