#!/bin/busybox sh
# shellcheck shell=dash
# The first program of a guest: makes it a place where programs run, runs /guest/run, and powers off. What that says goes
# to the second serial line, followed by "guest-status N"; the first is the kernel's.
export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/inodax HOME=/root LC_ALL=C LD_LIBRARY_PATH=/inodax/.libs
export top_srcdir=/inodax top_builddir=/inodax

mkdir -p /proc /sys /dev /run /tmp /root /mnt /var/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
busybox stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1 < /dev/null

while read -r module; do
	insmod "$module" || echo "guest: $module cannot be loaded"
done < /guest/modules
busybox ip link set lo up
cd /tmp || exit 1
# shellcheck disable=SC1091	# made by guest.sh
. /guest/run
status=$?
sync
echo "guest-status $status"
busybox stty -F /dev/ttyS1 > /dev/null
busybox poweroff -f
