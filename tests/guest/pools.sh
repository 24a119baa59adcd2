# shellcheck shell=bash
# Pools on persistent memory, in a guest that guest.sh has booted. Sourced by what runs there.
#
#	fsdax_on N		an ext4 with DAX on /dev/pmemN, at /mnt/fsdax
#	devdax_on N ALIGN	a device-DAX node of region N, $device; ALIGN is 4K or 2M
#	use_kind KIND		ext4, dax4k or dax2m: makes it, and sets what tests/lib/common.sh takes pools from
#	pool_kinds		all three, in an order in which they can be had one after the other

pool_kinds=(ext4 dax4k dax2m)

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

fsdax_on() {
	mkdir -p /mnt/fsdax
	mountpoint -q /mnt/fsdax && return 0
	namespace "$1" -m fsdax -M dev > /tmp/ndctl.out || guest_fail "ndctl: $(cat /tmp/ndctl.out)"
	# Laid out so that the filesystem can give whole aligned 2 MiB.
	mkfs.ext4 -q -F -b 4096 -m 0 -E stride=512,stripe_width=512,nodiscard "/dev/pmem$1" > /tmp/mkfs.out 2>&1 ||
		guest_fail "mkfs.ext4: $(cat /tmp/mkfs.out)"
	mount -o dax "/dev/pmem$1" /mnt/fsdax || guest_fail "mount -o dax: $(dmesg | tail -n 3)"
	grep -q '^/dev/pmem[0-9]* /mnt/fsdax ext4 [^ ]*dax=always' /proc/mounts ||
		guest_fail "not mounted with DAX: $(grep fsdax /proc/mounts)"
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
		fsdax_on 0
		export INODAX_TEST_POOLS=/mnt/fsdax ;;
	dax4k)
		devdax_on 2 4K
		export INODAX_TEST_DEVICE=$device ;;
	dax2m)
		devdax_on 2 2M
		export INODAX_TEST_DEVICE=$device ;;
	*)
		guest_fail "$1: ${pool_kinds[*]} are known" ;;
	esac
}
