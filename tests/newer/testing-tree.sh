#!/bin/bash
# Builds and tests these sources with the libraries and the compiler of a newer Debian, on the kernel that
# runs: makes a tree of that suite by debootstrap, copies the sources in and runs in-tree.sh there.
#
#	tests/newer/testing-tree.sh [SUITE]		default testing
#
# As root, with debootstrap installed. Packages come from where this system's apt takes Debian's own. The tree
# is below $TMPDIR, /var/tmp by default, takes about 3 GiB, and is removed at the end; INODAX_TEST_KEEP=1
# keeps that of a failed run. Mounts and processes are in namespaces of their own, so that none is left.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
suite=${1:-testing}
scripts=/usr/share/debootstrap/scripts

say() {
	printf 'testing-tree: %s\n' "$*"
}

give_up() {
	say "$*" >&2
	exit 2
}

# $mirror: the first source of this system that says it is Debian's; $http_proxy as apt has it.
find_mirror() {
	# shellcheck disable=SC2016
	local format='$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)'
	mirror=$(apt-get indextargets --format "$format" 'Created-By: Packages' |
		awk -F '|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !seen++ { print $4 }')
	[ -n "$mirror" ] || give_up "apt has no lists of a Debian suite; run apt-get update first"
	eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
	[ -z "${http_proxy:-}" ] || export http_proxy
}

# Every suite that debootstrap does not know yet is made as sid is.
make_tree() {
	local script=sid log=$tree/debootstrap.log
	[ ! -e "$scripts/$suite" ] || script=$suite
	if ! debootstrap --variant=minbase "$suite" "$tree/root" "$mirror" "$scripts/$script" > "$log" 2>&1; then
		tail -n 20 "$log"
		give_up "debootstrap failed"
	fi
	cp -L /etc/resolv.conf "$tree/root/etc/resolv.conf"
	mkdir "$tree/root/src"
	"$top/scripts/copy-sources.sh" "$tree/root/src"
}

# in_tree COMMAND...: as the first process of a mount and a pid namespace, which end with it.
in_tree() {
	# shellcheck disable=SC2016
	unshare --mount --pid --fork --kill-child bash -euc '
		root=$1
		shift
		# What is / in the tree has to be a mount: tests make mount namespaces of their own.
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		exec chroot "$root" env -u TMPDIR HOME=/root "PATH=/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C "$@"
	' in_tree "$tree/root" "$@"
}

at_exit() {
	local status=$?
	if [ "$status" != 0 ] && [ "${INODAX_TEST_KEEP:-0}" = 1 ]; then
		say "kept: $tree"
	else
		rm -rf --one-file-system "$tree"
	fi
}

[ "$(id -u)" = 0 ] || give_up "only root can make a tree"
command -v debootstrap > /dev/null || give_up "debootstrap is not installed"
[ -c /dev/fuse ] || give_up "there is no /dev/fuse"
find_mirror
tree=$(mktemp -d "${TMPDIR:-/var/tmp}/inodax-tree.XXXXXX")
chmod 755 "$tree"
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say "a tree of $suite"
make_tree
in_tree /src/tests/newer/in-tree.sh /build
say "all passed"
