package guest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Recipe is the machine that must not hang: its only swap is a disk on the
// network, a program needs more memory than there is, and a flood goes into a
// socket that nobody reads. The zero value, but for Initiator, is a quiet one.
type Recipe struct {
	// Machine is what it runs on. Script, Modules, Watch and Tick are the recipe's
	// own.
	Machine Machine
	// Initiator is "kernel" (Linux's aoe), "ublk" or "nbd" (ours).
	Initiator string
	// FillBytes is what the program needs. Zero means 192 MiB.
	FillBytes int64
	// Seed of the program's pattern.
	Seed uint64
	// Flood is the number of foreign frames a second, from when swap is on. Zero
	// means none, negative as many as go.
	Flood int
	// Forged is the number of forged answers a second, as Flood.
	Forged int
	// UnreadBytes is the room of a socket that takes them. Zero means that there
	// is none. With Read they are read: the control.
	UnreadBytes int
	Read        bool
	// MinFreeKB is what vm.min_free_kbytes is set to. Zero leaves it alone.
	MinFreeKB int
	// DeadTarget silences the last disk's target once swap is on; something is
	// written to that disk all the time. It takes two disks.
	DeadTarget bool
	// Attach are more arguments for aoe attach, AttachDefaults if nil.
	Attach []string
	// Stall is how long nothing may move before the guest counts as hung. Zero
	// means DefaultStall.
	Stall time.Duration
}

// Defaults of Recipe.
const (
	DefaultFill  = 192 << 20
	DefaultStall = 60 * time.Second
	// RecipeTimeout is Machine.Timeout, if that is zero: a run of ours takes some
	// five minutes under emulation.
	RecipeTimeout = 15 * time.Minute
	// DefaultUnread is the room of the socket in the flood that kills.
	DefaultUnread = 48 << 20
)

// AttachDefaults are how a disk is attached that the machine swaps on.
var AttachDefaults = []string{"--swap-safe"}

// Initiators are the names that Recipe.Initiator takes.
var Initiators = []string{"kernel", "ublk", "nbd"}

// initiatorModules are what each of them needs of the kernel.
var initiatorModules = map[string]string{"kernel": "aoe", "ublk": "ublk_drv", "nbd": "nbd"}

// vias are what aoe attach calls them.
var vias = map[string]string{"ublk": "ublk", "nbd": "nbd-kernel"}

func (r Recipe) withDefaults() (Recipe, error) {
	if !slices.Contains(Initiators, r.Initiator) {
		return r, fmt.Errorf("guest: there is no initiator %q: want one of %s", r.Initiator, strings.Join(Initiators, ", "))
	}
	if r.FillBytes == 0 {
		r.FillBytes = DefaultFill
	}
	if r.Stall == 0 {
		r.Stall = DefaultStall
	}
	if r.Attach == nil {
		r.Attach = AttachDefaults
	}
	if r.DeadTarget && r.Machine.Disks < 2 {
		return r, fmt.Errorf("guest: a dead target beside a live one takes two disks: --disks 2")
	}
	if r.Machine.Timeout == 0 {
		r.Machine.Timeout = RecipeTimeout
	}
	m, err := r.Machine.withDefaults()
	if err == nil && r.FillBytes > m.DiskBytes {
		err = fmt.Errorf("guest: fill %d bytes with %d bytes of swap: make the disk larger", r.FillBytes, m.DiskBytes)
	}
	r.Machine = m
	return r, err
}

// machine is the machine with everything but who watches it.
func (r Recipe) machine() Machine {
	m := r.Machine
	m.Modules = append(slices.Clone(m.Modules), initiatorModules[r.Initiator])
	m.Script = r.script()
	return m
}

// script is what the guest runs. It leaves a line for every step that package
// parse looks for.
func (r Recipe) script() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`say() { echo "guest: $*" >/dev/kmsg; }`)
	p(`fail() { say "failed: $*"; exit 1; }`)
	if r.MinFreeKB > 0 {
		p(`echo %d >/proc/sys/vm/min_free_kbytes || fail "vm.min_free_kbytes"`, r.MinFreeKB)
	}
	if r.Initiator == "kernel" {
		// The driver asks on its own only once a minute.
		p(`disk() {
	i=0
	until [ -b "/dev/etherd/$1" ]; do
		i=$((i+1))
		[ $i -lt 100 ] || return 1
		echo >/dev/etherd/discover
		sleep 0.2
	done
	echo "/dev/etherd/$1"
}`)
	} else {
		p(`disk() { aoe attach -i eth0 --via %s --background %s "$1"; }`, vias[r.Initiator], quoteAll(r.Attach))
	}
	p(`device=$(disk e1.1) || fail "e1.1 was not attached"`)
	if r.DeadTarget {
		p(`other=$(disk %s) || fail "%[1]s was not attached"`, diskAddr(r.Machine.Disks-1))
	}
	p(`mkswap "$device" >/dev/null && swapon "$device" || fail "no swap on $device"`)
	p(`say "swap on $device"`)
	p(`aoe lab inside watch &`)
	if r.DeadTarget {
		p(`dd if=/dev/zero of="$other" bs=64k count=256 2>/dev/null &`)
	}
	p(`aoe lab inside fill --bytes %d --seed %d --unread %d --read=%v`, r.FillBytes, r.Seed, r.UnreadBytes, r.Read)
	p(`status=$?`)
	p(`say "filled with status $status"`)
	p(`aoe lab inside watch --once`)
	if r.Initiator != "kernel" {
		// Through /dev/kmsg, as everything: on the console itself, the kernel's
		// complaints would stand in the middle of a line.
		p(`aoe stat --json >/tmp/stat || say "aoe stat failed with status $?"`)
		p(`while read -r line; do say "stat $line"; done </tmp/stat`)
	}
	p(`exit $status`)
	return b.String()
}

func quoteAll(args []string) string {
	var words []string
	for _, a := range args {
		words = append(words, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}
