# Runs in the guest: Linux's own aoe driver on a disk of ours. AOE_STORY is the
# parts to tell, AOE_NETIF the interfaces that the disk is on, AOE_SECTORS and
# AOE_GROWN how large it is and will be. Where the story needs something done
# outside, it says so; the test listens. Modules: aoe, crc32c_generic, ext4.
fail() {
	echo "FAIL: $*"
	aoe-stat
	dmesg | tail -30
	exit 1
}
# aoe-stat asks for bash, and needs nothing that busybox's shell has not.
printf '#!/bin/busybox sh\nexec /bin/busybox sh "$@"\n' >/bin/bash && chmod 755 /bin/bash
say() { echo "guest: $*" >/dev/kmsg; }

disk=/dev/etherd/e1.1 sys='/sys/block/etherd!e1.1'

discovered() {
	aoe-discover
	[ -b $disk ] && aoe-stat | grep -q "e1.1 .* $AOE_NETIF .* up"
}
size_is() { [ "$(cat "$sys/size")" = "$1" ]; }
grown() {
	aoe-revalidate e1.1
	size_is "$AOE_GROWN"
}

part_discovery() {
	until_true "e1.1 was not found on $AOE_NETIF" discovered
	aoe-interfaces
	aoe-stat
	echo "state $(cat "$sys/state"), mac $(cat "$sys/mac"), netif $(cat "$sys/netif"), firmware $(cat "$sys/firmware-version"), payload $(cat "$sys/payload")"
	size_is "$AOE_SECTORS" || fail "the disk has $(cat "$sys/size") sectors"
}

part_data() {
	aoe lab inside check --path $disk --bytes "$AOE_CHECK" || fail "check"
	dd if=$disk of=/dev/null bs=512 count=2 skip=$((AOE_SECTORS - 2)) 2>/dev/null || fail "read the last sectors"
}

part_mkfs() {
	mke2fs -b 1024 $disk >/dev/null || fail mke2fs
	mount -t ext4 $disk /mnt || fail mount
	dd if=/dev/urandom of=/tmp/data bs=64k count=50 2>/dev/null
	cp /tmp/data /mnt/data && mkdir /mnt/dir && cp -r /bin /mnt/dir || fail "write files"
	umount /mnt || fail umount
	echo 3 >/proc/sys/vm/drop_caches
	mount -t ext4 $disk /mnt || fail "mount again"
	cmp /mnt/data /tmp/data || fail "the file has changed"
	cmp /mnt/dir/bin/aoe /bin/aoe || fail "the program has changed"
	umount /mnt || fail "umount again"
	rm /tmp/data
}

part_grow() {
	say "grow"
	until_true "e1.1 has not grown: $(cat "$sys/size")" grown
	aoe-stat
	aoe lab inside check --path $disk --offset $((AOE_SECTORS * 512)) --bytes $((4 << 20)) --seed 2 || fail "check what was added"
}

# The target's first interface is down for ten seconds while the disk is used.
part_flap() {
	say "flap"
	aoe lab inside check --path $disk --offset $((AOE_SECTORS * 512)) --bytes $((4 << 20)) --seed 3 --rounds 4 || fail "check through a flap"
	until_true "the disk is not up again" grep -q up "$sys/state"
	aoe-stat
}

# The first of two paths goes away for good while the disk is used.
part_path() {
	before=$(cat /sys/class/net/eth1/statistics/tx_packets)
	echo "frames sent so far: eth0 $(cat /sys/class/net/eth0/statistics/tx_packets), eth1 $before"
	[ "$before" -gt 500 ] || fail "the second interface is hardly used"
	say "cut"
	aoe lab inside check --path $disk --bytes $((4 << 20)) --seed 4 --rounds 2 || fail "check on one of two paths"
	echo "frames sent: eth0 $(cat /sys/class/net/eth0/statistics/tx_packets), eth1 $(cat /sys/class/net/eth1/statistics/tx_packets)"
}

# A few frames of each kind, to be kept: what is written can be packed.
part_capture() {
	yes AoE! | tr -d '\n' | head -c 4096 >/tmp/pattern
	for at in 4 5; do
		dd if=/tmp/pattern of=$disk bs=4096 count=1 seek=$at oflag=direct 2>/dev/null || fail "write"
	done
	dd if=$disk bs=4096 count=1 skip=4 iflag=direct 2>/dev/null | cmp - /tmp/pattern || fail "read"
}

for part in $AOE_STORY; do
	echo "== $part"
	"part_$part"
done
echo "== done"
