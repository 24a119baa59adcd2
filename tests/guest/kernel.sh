# shellcheck shell=bash
# Kernels for guests: a package of Debian is downloaded, never installed, and what a guest needs of it is kept. Sourced
# by guest.sh; $cache is the folder that keeps things, say and cannot come from there.
#
#	get_kernel KERNEL	$kernel_dir, which then has:
#		release		as uname -r will say
#		vmlinux		to boot (by QEMU's PVH entry: nothing is decompressed in the guest)
#		wanted		the names of the modules below, when it was made
#		modules.cpio	these modules and all they depend on, in /lib/modules; /guest/modules is the order
#
# KERNEL is a version or the beginning of one (6.1), and the newest package of it that apt knows is taken; or
# VERSION@SUITE (7.2@trixie-backports) with a suite of Debian that the system does not use. No address is written down
# here: both come from where the system's own apt takes Debian's packages. What is there is used again; to have a newer
# one, remove $kernel_dir.

# shellcheck disable=SC2154	# what guest.sh sets

# In the order in which they are loaded; those that are built in, or that this kernel does not have, are left out.
guest_modules=(crc32c_intel crc32c_generic crc32c_cryptoapi libcrc32c nfit nd_e820 nd_pmem dax_pmem device_dax dax_hmem
	ext4 xfs fuse loop virtio_pci virtio_blk)

# ---- Packages ------------------------------------------------------------------------------------

# suite_options SUITE FOLDER: $apt, the options that make apt know that suite alone, with lists in the folder.
suite_options() {
	local suite=$1 folder=$2 key=/usr/share/keyrings/debian-archive-keyring.gpg mirror
	# shellcheck disable=SC2016	# apt's variables
	mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
		awk -F '|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !seen++ { print $4 }')
	[ -n "$mirror" ] || cannot "apt has no lists of a Debian suite; run apt-get update first"
	mkdir -p "$folder/lists/partial" "$folder/archives/partial"
	[ -e "$key" ] && key="[signed-by=$key] " || key=
	printf 'deb %s%s %s main\n' "$key" "$mirror" "$suite" > "$folder/sources.list"
	apt=(-o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder" -o APT::Sandbox::User=)
	say "lists of $suite"
	apt-get -qq "${apt[@]}" update || cannot "apt-get cannot read the lists of $suite"
}

# find_package VERSION: $package, the newest of plain Debian kernels for PCs (not cloud, not rt).
find_package() {
	local version=${1//./\\.}
	package=$(apt-cache "${apt[@]}" pkgnames linux- |
		grep -E "^linux-(image|binary)-$version([.][^-]*)?(-[0-9]+)?-amd64(-unsigned)?$" | sort -V |
		grep -E '[0-9]+[.][0-9]+[.][0-9]' | tail -n 1) ||
		cannot "apt knows no package linux-image-$1.*-amd64; run apt-get update, or name a suite: $1@SUITE"
}

# download FOLDER: $package and, where kernel and modules are in packages of their own, those.
download() {
	local packages=("$package") others
	mapfile -t others < <(apt-cache "${apt[@]}" depends "$package" |
		sed -n 's/^ *Depends: \(linux-\(binary\|modules\)-.*\)/\1/p')
	packages+=("${others[@]}")
	say "downloading ${packages[*]}"
	(cd "$1" && apt-get -qq "${apt[@]}" -o APT::Sandbox::User= download "${packages[@]}") ||
		cannot "apt-get cannot download ${packages[*]}"
}

# ---- The kernel ----------------------------------------------------------------------------------

# number_at FILE OFFSET LENGTH: an unsigned number.
number_at() {
	od -A n -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# unpack_vmlinux BZIMAGE FILE: the header says where the compressed ELF file lies (Documentation/arch/x86/boot.rst); its
# last four bytes are its size before. What follows the compressed stream is not its program's business: the size tells
# whether all of it is there.
unpack_vmlinux() {
	local image=$1 setup start length magic size
	setup=$(number_at "$image" 497 1)
	start=$(((setup + 1) * 512 + $(number_at "$image" $((0x248)) 4)))
	length=$(number_at "$image" $((0x24c)) 4)
	size=$(number_at "$image" $((start + length - 4)) 4)
	magic=$(od -A n -t x1 -j "$start" -N 4 "$image" | tr -d ' ')
	case $magic in
	fd377a58) unpack=(xz -dc --single-stream) ;;
	28b52ffd) unpack=(zstd -dcq) ;;
	1f8b*) unpack=(gzip -dc) ;;
	*) cannot "$image: compressed in a way that is not known here (it begins with $magic)" ;;
	esac
	tail -c "+$((start + 1))" "$image" | head -c "$((length - 4))" | "${unpack[@]}" > "$2" 2> "$2.err" || true
	[ "$(stat -c %s "$2")" = "$size" ] || cannot "$image: ${unpack[0]} unpacks $(stat -c %s "$2") of $size bytes: $(cat "$2.err")"
	rm "$2.err"
}

# ---- Modules -------------------------------------------------------------------------------------

# module_order FOLDER NAME...: the files to load, in their order, after the kernel's own modules.dep; the host's modprobe
# would leave out what the host has built in.
module_order() {
	local folder=$1
	shift
	awk -v names="$*" '
		function name(path) {
			sub(/.*\//, "", path); sub(/[.]ko.*/, "", path); gsub(/-/, "_", path)
			return path
		}
		{ path = substr($1, 1, length($1) - 1); file[name(path)] = path; $1 = ""; needs[path] = $0 }
		function load(path) { if (!(path in seen)) { seen[path] = 1; print path } }
		END {
			count = split(names, wanted, " ")
			for (i = 1; i <= count; i++) {
				if (!(wanted[i] in file))
					continue
				path = file[wanted[i]]
				for (j = split(needs[path], before, " "); j > 0; j--)
					load(before[j])
				load(path)
			}
		}' "$folder/modules.dep"
}

# unpack_module FILE TO: decompressed, without debug sections and signature, which take seconds to read and to verify.
unpack_module() {
	case $1 in
	*.xz) xz -dc "$1" > "$2" ;;
	*.zst) zstd -dcq "$1" > "$2" ;;
	*) cp "$1" "$2" ;;
	esac
	strip --strip-debug "$2"
}

# make_modules TREE RELEASE FILE: the modules of an unpacked package, as FILE to put into an initramfs.
make_modules() {
	local root=$1 release=$2 from tree=$1/initramfs path to
	[ ! -d "$root/usr/lib/modules" ] || [ -d "$root/lib" ] || ln -s usr/lib "$root/lib"
	from=$root/lib/modules/$release
	[ -d "$from" ] || cannot "the package has no modules of $release"
	# Some packages leave these to be made.
	touch "$from"/modules.{builtin,builtin.modinfo,order}
	depmod -b "$root" "$release"
	mkdir -p "$tree/usr/lib/modules/$release" "$tree/guest"
	cp "$from"/modules.{builtin,builtin.modinfo,order} "$tree/usr/lib/modules/$release"
	while read -r path; do
		to=usr/lib/modules/$release/${path%.ko*}.ko
		mkdir -p "$tree/${to%/*}"
		unpack_module "$from/$path" "$tree/$to"
		printf '/%s\n' "$to" >> "$tree/guest/modules"
	done < <(module_order "$from" "${guest_modules[@]}")
	ln -s usr/lib "$tree/lib"
	depmod -b "$tree" "$release"
	rm "$tree/lib"
	pack "$tree" "$3"
}

# pack TREE FILE
pack() {
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) > "$2"
}

# ---- Both ----------------------------------------------------------------------------------------

get_kernel() {
	local version=${1%%@*} suite=${1#"${1%%@*}"} new image deb release
	apt=()
	kernel_dir=$cache/kernel-$1
	if [ -e "$kernel_dir/wanted" ] && [ "$(cat "$kernel_dir/wanted")" = "${guest_modules[*]}" ]; then
		return 0
	fi
	new=$(mktemp -d "$cache/new.XXXXXX")
	remove+=("$new")
	[ -z "$suite" ] || suite_options "${suite#@}" "$new/apt"
	find_package "$version"
	mkdir "$new/root" "$new/out"
	download "$new"
	for deb in "$new"/*.deb; do
		dpkg-deb -x "$deb" "$new/root"
	done
	image=$(find "$new/root" -type f -name 'vmlinuz*')
	[ -n "$image" ] || cannot "$package has no vmlinuz"
	say "unpacking ${image##*/}"
	unpack_vmlinux "$image" "$new/out/vmlinux"
	release=$(find "$new/root" -type d -path '*/lib/modules/*/kernel' -prune)
	release=${release%/kernel}
	release=${release##*/}
	make_modules "$new/root" "$release" "$new/out/modules.cpio"
	printf '%s\n' "${guest_modules[*]}" > "$new/out/wanted"
	printf '%s\n' "$release" > "$new/out/release"
	rm -rf "$kernel_dir"
	mv "$new/out" "$kernel_dir"
	rm -rf "$new"
}
