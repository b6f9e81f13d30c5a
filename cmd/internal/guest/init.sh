#!/bin/busybox sh
# The first process of the guest: makes a machine out of an archive, runs /job
# and switches off. What it says goes through /dev/kmsg: there a line stays whole
# and gets a time.
/bin/busybox mkdir -p /proc /sys /run /tmp /mnt
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
say() { echo "guest: $*" >/dev/kmsg; }

while read -r name; do
	insmod "/modules/$name.ko" || say "insmod $name failed"
	rm "/modules/$name.ko" # it takes memory
done </modules/load
. /job.env
ip link set lo up
for i in $AOE_INTERFACES; do
	ip link set "$i" mtu "$AOE_MTU" up || say "$i has no MTU $AOE_MTU"
done
say "begins"
sh /job </dev/null
status=$?
say "exit status $status"
poweroff -f
