# shellcheck shell=bash
# Pools on persistent memory, in a guest that guest.sh has booted. Sourced by what runs there.
#
#	fsdax_on N TYPE		an ext4 or xfs with DAX on /dev/pmemN, at /mnt/TYPE
#	devdax_on N ALIGN	a device-DAX node of region N, $device; ALIGN is 4K or 2M
#	use_kind KIND		ext4, xfs, dax4k or dax2m: makes it, and sets what tests/lib/common.sh takes pools from;
#				small2m: as dax2m, of 128 MiB, for tests that fill their pool again and again
#	pool_kinds		all but that, in an order in which they can be had one after the other

pool_kinds=(ext4 xfs dax4k dax2m)

guest_fail() {
	printf 'FAIL: %s\n' "$*"
	exit 1
}

# namespace REGION OPTION...: make its only namespace anew; says what it is, in ndctl's words.
namespace() {
	local region=$1
	shift
	ndctl create-namespace -f -e "namespace$region.0" "$@" 2>&1 || guest_fail "ndctl create-namespace $*: status $?"
}

# Laid out so that the filesystem can give whole aligned 2 MiB.
make_fs() {
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 -m 0 -E stride=512,stripe_width=512,nodiscard "$2" ;;
	xfs) mkfs.xfs -q -f -K -d su=2m,sw=1 -m reflink=1 "$2" ;;
	esac
}

# xfs mounts without DAX, and says nothing, where the device cannot.
fsdax_on() {
	mkdir -p "/mnt/$2"
	mountpoint -q "/mnt/$2" && return 0
	namespace "$1" -m fsdax -M dev > /tmp/ndctl.out || guest_fail "ndctl: $(cat /tmp/ndctl.out)"
	make_fs "$2" "/dev/pmem$1" > /tmp/mkfs.out 2>&1 || guest_fail "mkfs.$2: $(cat /tmp/mkfs.out)"
	mount -o dax "/dev/pmem$1" "/mnt/$2" || guest_fail "mount -o dax: $(dmesg | tail -n 3)"
	grep -q "^/dev/pmem$1 /mnt/$2 $2 [^ ]*dax=always" /proc/mounts ||
		guest_fail "not mounted with DAX: $(grep "/mnt/$2" /proc/mounts)"
}

devdax_on() {
	namespace "$1" -m devdax -a "$2" > /tmp/ndctl.out || guest_fail "ndctl: $(cat /tmp/ndctl.out)"
	device=$(sed -n 's/.*"chardev":"\([^"]*\)".*/\/dev\/\1/p' /tmp/ndctl.out)
	[ -c "$device" ] || guest_fail "no device-DAX node: $(cat /tmp/ndctl.out)"
}

use_kind() {
	unset INODAX_TEST_DEVICE INODAX_TEST_POOLS
	case $1 in
	ext4)
		fsdax_on 0 ext4
		export INODAX_TEST_POOLS=/mnt/ext4 ;;
	xfs)
		fsdax_on 1 xfs
		export INODAX_TEST_POOLS=/mnt/xfs ;;
	dax4k)
		devdax_on 2 4K
		export INODAX_TEST_DEVICE=$device ;;
	dax2m)
		devdax_on 2 2M
		export INODAX_TEST_DEVICE=$device ;;
	small2m)
		devdax_on 3 2M
		export INODAX_TEST_DEVICE=$device ;;
	*)
		guest_fail "$1: ${pool_kinds[*]} are known" ;;
	esac
}
