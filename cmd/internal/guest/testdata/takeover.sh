# Runs in the guest: a device is written to and read, and the process that serves it
# is killed AOE_KILLS times meanwhile; each time another takes it over. That for each
# of AOE_WAYS to attach. Modules: those of the ways.
fail() {
	echo "FAIL: $*"
	cat /tmp/errors
	dmesg | tail -30
	exit 1
}

# attach WAY FLAG... leaves the process in $daemon and the device in $device.
attach() {
	: >/tmp/device
	aoe attach -i eth0 --via "$@" e1.1 >/tmp/device 2>>/tmp/errors &
	daemon=$!
	until_true "attach $* printed no device" [ -s /tmp/device ]
	device=$(cat /tmp/device)
}

# requests prints how many the device has done so far.
requests() {
	read -r reads a b c writes rest <"/sys/block/${device#/dev/}/stat"
	echo $((reads + writes))
}
did() { [ "$(requests)" -ge "$1" ]; }

for way in $AOE_WAYS; do
	echo "== $way"
	attach "$way"
	first=$device
	aoe lab inside check --path "$device" --bytes $((16 << 20)) --rounds "$AOE_ROUNDS" &
	check=$!
	for i in $(seq "$AOE_KILLS"); do
		until_true "nothing is done after takeover $((i - 1))" did $(($(requests) + 300))
		kill -9 $daemon
		wait $daemon
		attach "$way" --takeover
		[ "$device" = "$first" ] || fail "takeover $i got $device instead of $first"
		kill -0 $check || fail "all was done before takeover $i"
		echo "taken over: $(requests) requests done"
	done
	wait $check || fail "check"
	kill -TERM $daemon
	wait $daemon || fail "the last did not detach"
done
echo "== done"
