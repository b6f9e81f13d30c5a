# Runs in the guest: everything that a block device of ours must do, and what
# must not be lost when the process that serves it is killed. AOE_VIA says which
# way to attach. Modules: ublk_drv, nbd, crc32c_generic, ext4. The target caches
# writes.
fail() {
	echo "FAIL: $*"
	dmesg | tail -30
	for p in $(pidof aoe); do cat /proc/$p/task/*/stack; done
	exit 1
}
attach() { aoe attach -i eth0 --background --via $AOE_VIA --deadsecs 15 "$@"; }
daemon() { aoe stat --json e1.1 | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -1; }
counters() { aoe stat --json e1.1 | sed -n '/"ublk": {\|"nbd": {/,/}/p' | tr -d ' \n"'; echo; }
quiet() { sync; echo 3 >/proc/sys/vm/drop_caches; }

dev=$(attach e1.1) || fail attach
echo "== $dev"
name=${dev#/dev/}
[ "$(cat /sys/block/$name/size)" = 1048576 ] || fail "size $(cat /sys/block/$name/size)"
[ "$(cat /sys/block/$name/queue/max_sectors_kb)" = 128 ] || fail "longest request"
attach e1.1 && fail "attached twice"

echo "== data arrives, through the page cache and past it"
dd if=/dev/urandom of=/tmp/data bs=1M count=12 2>/dev/null
dd if=/tmp/data of=$dev bs=100k oflag=direct 2>/dev/null || fail "direct write"
dd if=/tmp/data of=$dev bs=1M seek=32 conv=fsync 2>/dev/null || fail "write"
quiet
dd if=$dev bs=64k count=192 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "direct write, read again"
dd if=$dev bs=1M skip=32 count=12 2>/dev/null | cmp - /tmp/data || fail "write, read again"

[ "$(cat /sys/block/$name/queue/write_cache)" = "write back" ] || fail "no write cache"
counters | grep -q 'flushes:[1-9]' || fail "no flush arrived: $(counters)"
counters

echo "== discard and zeroes"
blkdiscard -o 33554432 -l 1048576 $dev || fail blkdiscard
quiet
dd if=$dev bs=1M skip=33 count=11 2>/dev/null >/tmp/rest
dd if=/tmp/data bs=1M skip=1 2>/dev/null | cmp - /tmp/rest || fail "discard took more than it should"
rm /tmp/rest

echo "== a file system; no detaching while it is mounted"
mke2fs $dev >/dev/null || fail mke2fs
mount -t ext4 $dev /mnt || fail mount
cp /tmp/data /mnt/file && sync || fail "write to the file system"
aoe detach e1.1 2>/tmp/said && fail "detached while mounted"
grep -q 'mounted on /mnt' /tmp/said || fail "said $(cat /tmp/said)"
quiet
cmp /mnt/file /tmp/data || fail "the file has changed"
umount /mnt || fail umount

echo "== nor while it is swap, or open"
mkswap $dev >/dev/null && swapon $dev || fail swapon
aoe detach e1.1 2>/tmp/said && fail "detached while swap"
grep -q 'used as swap' /tmp/said || fail "said $(cat /tmp/said)"
swapoff $dev || fail swapoff
sleep 1000 <$dev &
opener=$!
aoe detach e1.1 2>/tmp/said && fail "detached while open"
grep -q "open in process $opener" /tmp/said || fail "said $(cat /tmp/said)"
kill $opener

echo "== killed while writing, three times; taken over"
for round in 1 2 3; do
	dd if=/dev/urandom of=/tmp/data bs=1M count=12 2>/dev/null
	dd if=/tmp/data of=$dev bs=16k seek=$((round * 1024)) oflag=direct 2>/tmp/dd & direct=$!
	dd if=/tmp/data of=$dev bs=1M seek=$((64 + round * 16)) conv=fsync 2>/tmp/dd & cached=$!
	usleep $((round * 150000))
	kill -9 $(daemon) || fail "no daemon"
	attach e1.1 2>/tmp/said && fail "attached anew beside the device that was left"
	grep -q takeover /tmp/said || fail "said $(cat /tmp/said)"
	case $AOE_VIA in ublk) other=nbd-kernel ;; *) other=ublk ;; esac
	aoe attach -i eth0 --background --via $other e1.1 2>/tmp/said && fail "attached in another way beside the device that was left"
	[ ! -e /dev/ublk-control ] || grep -q takeover /tmp/said || fail "said $(cat /tmp/said)"
	kill -0 $direct $cached || fail "a writer did not wait: $(cat /tmp/dd)"
	[ "$(attach --takeover e1.1)" = $dev ] || fail takeover
	wait $direct && wait $cached || fail "a write failed: $(cat /tmp/dd)"
	quiet
	dd if=$dev bs=16k skip=$((round * 1024)) count=768 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "direct writes were lost"
	dd if=$dev bs=1M skip=$((64 + round * 16)) count=12 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "writes were lost"
	echo "round $round: $(cut -d' ' -f1 /proc/uptime) s, $(counters)"
done

echo "== killed with as much under way as there can be, and the target away"
ip link set eth0 down
i=0
while [ $i -lt 140 ]; do
	dd if=/tmp/data of=$dev bs=4k seek=$((65536 + i)) skip=$i count=1 oflag=direct 2>/dev/null &
	i=$((i + 1))
done
i=0
while [ $(awk '{ print $1 + $2 }' /sys/block/$name/inflight) -lt 64 ]; do
	[ $((i += 1)) -lt 100 ] || fail "only $(cat /sys/block/$name/inflight) under way"
	usleep 100000
done
kill -9 $(daemon)
ip link set eth0 up
began=$(cut -d. -f1 /proc/uptime)
[ "$(attach --takeover e1.1)" = $dev ] || fail "takeover of a full queue"
wait
echo "took $(($(cut -d. -f1 /proc/uptime) - began)) s"
dd if=$dev bs=4k skip=65536 count=140 iflag=direct 2>/dev/null >/tmp/rest
dd if=/tmp/data bs=4k count=140 2>/dev/null | cmp - /tmp/rest || fail "writes of a full queue were lost"

echo "== detached, and nothing is left"
aoe detach e1.1 || fail detach
aoe stat e1.1 2>/dev/null && fail "still attached"
[ ! -e /sys/block/ublkb0 ] && [ ! -e /sys/block/nbd0/pid ] || fail "the device is still there"
[ "$(attach --takeover e1.1)" = $dev ] || fail "takeover where nothing is left"
aoe detach e1.1 || fail "detach at last"

echo "== given up by the third signal, because the target is away and a flush hangs"
dev=$(aoe attach -i eth0 --background --via $AOE_VIA --deadsecs=-1 e1.1) || fail attach
pid=$(daemon)
dd if=/tmp/data of=$dev bs=64k count=16 oflag=direct 2>/dev/null || fail "direct write"
ip link set eth0 down
for signal in 1 2 3; do
	kill -TERM $pid || fail "ended by signal $((signal - 1))"
	sleep 2
done
i=0
while kill -0 $pid 2>/dev/null; do
	[ $((i += 1)) -lt 60 ] || fail "still there"
	sleep 1
done
[ ! -e /sys/block/ublkb0 ] && [ ! -e /sys/block/nbd0/pid ] || fail "the device is still there"
echo "== all is well"
