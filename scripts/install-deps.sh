#!/bin/bash
# Installs what is needed to build inodax and to run its tests, by apt, where it is not there yet.
#
#	scripts/install-deps.sh [PACKAGE...]
#
# Without arguments: all of it. With them: what is needed to build, and these. Runs apt as root, by sudo
# otherwise; needs neither when nothing is missing. Packages come from wherever the system is told to take
# them.
set -euo pipefail

build=(autoconf automake libtool pkg-config autoconf-archive make gcc libc6-dev xz-utils libfuse3-dev fuse3 libpmem2-dev
	liburing-dev check libblkid-dev uuid-dev libisal-dev libxxhash-dev libjson-c-dev)
programs=(fio sqlite3 stress-ng e2fsprogs fuse2fs xfsprogs acl attr git rsync strace clang libcap2-bin util-linux fdisk
	procps python3 spin liblmdb-dev lmdb-utils python3-numpy libpmemobj-dev
	pmdk-tools librocksdb-dev)
updated=

say() {
	printf 'install-deps: %s\n' "$*"
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2> /dev/null)" = 'ii ' ]
}

# find_missing PACKAGE...: $missing, those that are not installed.
find_missing() {
	local package
	missing=()
	for package; do
		installed "$package" || missing+=("$package")
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo > /dev/null; then
		sudo "$@"
	else
		say "missing: ${missing[*]}; to install them takes root or sudo, neither is here" >&2
		exit 1
	fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

have_lists() {
	compgen -G '/var/lib/apt/lists/*_Packages*' > /dev/null
}

# One source that is broken does not spoil the others: whether it matters, the installation tells.
update() {
	[ -z "$updated" ] || return 0
	updated=1
	apt_get update || say "apt-get update failed, perhaps only in part; going on"
}

# try PACKAGE...: with the lists that are there first, then with new ones.
try() {
	if have_lists && apt_get install -y --no-install-recommends "$@"; then
		return 0
	fi
	update
	apt_get install -y --no-install-recommends "$@"
}

# require PACKAGE...: nothing works without them.
require() {
	find_missing "$@"
	[ ${#missing[@]} = 0 ] || { say "missing: ${missing[*]}" && try "${missing[@]}"; }
}

# want PACKAGE...: tests skip what needs one that cannot be had.
want() {
	local package
	find_missing "$@"
	if [ ${#missing[@]} = 0 ]; then
		return 0
	fi
	say "missing: ${missing[*]}"
	try "${missing[@]}" && return 0
	for package in "${missing[@]}"; do
		try "$package" || say "$package cannot be had; tests that need it will be skipped"
	done
}

# The sanitizers' runtime of clang is a package of its own, named after the version that is installed.
clang_runtime() {
	local version
	version=$(clang -dumpversion 2> /dev/null | cut -d . -f 1) || return 0
	! apt-cache show "libclang-rt-$version-dev" > /dev/null 2>&1 || printf 'libclang-rt-%s-dev\n' "$version"
}

command -v apt-get > /dev/null || {
	say "there is no apt-get here; by their names in Debian, needed are: ${build[*]} ${programs[*]}" >&2
	exit 1
}
require "${build[@]}"
if [ $# -gt 0 ]; then
	require "$@"
else
	want "${programs[@]}"
	runtime=$(clang_runtime)
	[ -z "$runtime" ] || want "$runtime"
fi
say "all there"
