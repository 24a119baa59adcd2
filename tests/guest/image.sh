# shellcheck shell=bash
# What is in a guest besides the kernel and its modules: two parts of an initramfs. Sourced by guest.sh; $cache is the
# folder that keeps things, $dir one for this run.
#
#	get_tools		$tools_image: programs of this system with their libraries; kept, and made anew when one of them
#				is another
#	make_programs FILE	what is built in $top_builddir, in /inodax of the guest; laid out as a build directory in the
#				sources, so that tests find there what they are used to
#
# shellcheck disable=SC2154	# what guest.sh sets
#
# A guest has bash, coreutils and so on as they are here, and of busybox whatever else there is no program for.

# Without these nothing runs.
needed_tools=(bash busybox ndctl daxctl mkfs.ext4)
# Left out where they are not installed.
more_tools=(awk blkid cmp e2fsck fallocate find findmnt fio fusermount3 grep losetup mkfs.xfs mount mountpoint pgrep ps python3
	sed setpriv strace tar umount unshare which xargs xfs_io)
# Of python3, whatever these take.
python_modules=array,ctypes,errno,fcntl,glob,json,mmap,os,random,re,signal,socket,struct,subprocess,tempfile,threading,time

# ---- Files with what they need -------------------------------------------------------------------

# libraries FILE...: those of dynamic programs, by the names by which they are looked for.
libraries() {
	local file
	for file; do
		ldd "$file" 2> "$dir/ldd.err" || true
	done | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u
}

# new_tree TREE: with the folders that Debian has as links.
new_tree() {
	local name
	mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" "$1/usr/lib64"
	for name in bin sbin lib lib64; do
		ln -s "usr/$name" "$1/$name"
	done
}

# put TREE FILE...: at the same path.
put() {
	local tree=$1 file
	shift
	for file; do
		mkdir -p "$tree${file%/*}"
		[ -e "$tree$file" ] || cp -L "$file" "$tree$file"
	done
}

# ---- Programs of this system ---------------------------------------------------------------------

# Paths of all of them, without libraries.
tool_paths() {
	local name
	for name in "${needed_tools[@]}" "${more_tools[@]}"; do
		command -v "$name" || true
	done
	dpkg -L coreutils | grep -E '/s?bin/[^/]+$'
}

python_paths() {
	python3 -c "import sys, $python_modules
for m in list(sys.modules.values()):
    f = getattr(m, '__file__', None)
    if f: print(f)
    f = getattr(m, '__cached__', None)
    if f: print(f)" 2> "$dir/python.err" | grep '^/' | while read -r name; do
		[ ! -e "$name" ] || printf '%s\n' "$name"
	done
}

make_tools() {
	local tree=$dir/tools name
	new_tree "$tree"
	mapfile -t paths < "$dir/tools.list"
	put "$tree" "${paths[@]}"
	mapfile -t paths < <(libraries "${paths[@]}")
	put "$tree" "${paths[@]}"
	# What programs have besides.
	for name in /etc/mke2fs.conf /etc/ld.so.cache /etc/nsswitch.conf; do
		[ ! -e "$name" ] || put "$tree" "$name"
	done
	printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/sh\n' > "$tree/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' > "$tree/etc/group"
	: > "$tree/etc/fstab"
	ln -s /proc/self/mounts "$tree/etc/mtab"
	for name in $(busybox --list); do
		[ -e "$tree/usr/bin/$name" ] || [ -e "$tree/usr/sbin/$name" ] || ln -s busybox "$tree/usr/bin/$name"
	done
	pack "$tree" "$1"
	rm -rf "$tree"
}

get_tools() {
	local name hash
	for name in "${needed_tools[@]}"; do
		command -v "$name" > "$dir/need" || cannot "$name is not installed"
	done
	{ tool_paths; python_paths; } | sort -u > "$dir/tools.list"
	hash=$({ cat "$here/image.sh"; xargs stat -L -c '%n %s %Y' < "$dir/tools.list"; } | sha256sum | cut -c 1-16)
	tools_image=$cache/tools-$hash.cpio
	[ ! -e "$tools_image" ] || return 0
	say "collecting programs and libraries of this system"
	rm -f "$cache"/tools-*.cpio
	make_tools "$tools_image.new"
	mv "$tools_image.new" "$tools_image"
}

# ---- Programs that are built here ----------------------------------------------------------------

# built FOLDER: the programs that are built right there, by their names.
built() {
	find "$top_builddir/$1" -maxdepth 1 -type f -perm -u+x |
		while read -r name; do
			name=${name##*/}
			! is_program "$top_builddir/$1/$name" || printf '%s\n' "$name"
		done
}

# ELF, or a script that libtool has put in its place.
is_program() {
	case $(head -c 4 "$1" | tr -d '\0') in
	$'\177ELF') ;;
	'#! /') [ -e "$(dirname "$1")/.libs/$(basename "$1")" ] ;;
	*) false ;;
	esac
}

# Copy a program without its debug sections; the one that libtool hides, if so.
put_program() {
	local from=$1
	[ ! -e "$(dirname "$1")/.libs/$(basename "$1")" ] || from=$(dirname "$1")/.libs/$(basename "$1")
	strip --strip-debug -o "$2" "$from"
}

put_tests() {
	local folder name
	(cd "$top_srcdir" && find tests -name '*.sh' -print0 | cpio -0 -p -d --quiet "$1")
	for folder in direct preload fuse dax cli model errno; do
		[ -d "$top_builddir/tests/$folder" ] || continue
		mkdir -p "$1/tests/$folder"
		for name in $(built "tests/$folder"); do
			put_program "$top_builddir/tests/$folder/$name" "$1/tests/$folder/$name"
		done
	done
}

make_programs() {
	local tree=$dir/programs name
	[ -x "$top_builddir/inodax" ] || cannot "$top_builddir/inodax is not built"
	mkdir -p "$tree/inodax/.libs"
	for name in $(built .); do
		put_program "$top_builddir/$name" "$tree/inodax/$name"
	done
	for name in "$top_builddir"/.libs/lib*.so*; do
		if [ -L "$name" ]; then
			cp -P "$name" "$tree/inodax/.libs"
		else
			strip --strip-debug -o "$tree/inodax/.libs/${name##*/}" "$name"
		fi
	done
	put_tests "$tree/inodax"
	mapfile -t paths < <(find "$tree/inodax" -type f -perm -u+x ! -name '*.sh')
	mapfile -t paths < <(libraries "${paths[@]}" | grep -v -F "$top_builddir/")
	mkdir -p "$tree/usr"
	for name in "${paths[@]}"; do
		# Through links that an initramfs may not have twice.
		name=${name/#\/lib/\/usr\/lib}
		put "$tree" "$name"
	done
	pack "$tree" "$1"
	rm -rf "$tree"
}
