package nic_test

import (
	"strings"
	"testing"
	"time"

	"aoe/frame/link/internal/nic"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// open observes the interface of a host, from outside its namespace.
func open(t *testing.T, h *veth.Host) (o *nic.Observer, first nic.Info) {
	t.Helper()
	err := h.Do(func() (err error) { o, first, err = nic.Open(h.Interface); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o, first
}

// until waits for changes until one leads to what is wanted.
func until(t *testing.T, o *nic.Observer, what string, wanted func(nic.Info) bool) nic.Info {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		info, err := o.Look()
		if err != nil {
			t.Fatal(err)
		}
		if wanted(info) {
			return info
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the interface is %+v", what, info)
		}
		fds := []unix.PollFd{{Fd: int32(o.FD()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 10_000); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		o.Changed()
	}
}

func TestAnObserverSeesWhatHappensInItsNamespace(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	o, first := open(t, pair.A)
	if first.Name != pair.A.Interface || first.MAC != pair.A.MAC || first.MTU != 9000 || !first.Up || !first.Exists() {
		t.Errorf("at first the interface is %+v", first)
	}
	if again, err := o.Look(); err != nil || again != first {
		t.Errorf("looked again: %+v, %v", again, err)
	}
	o.Changed()
	if o.Changed() {
		t.Error("a change is reported twice")
	}
	if n := testing.AllocsPerRun(10, func() { o.Changed() }); n != 0 {
		t.Errorf("Changed allocates %v times", n)
	}

	pair.A.SetMTU(1234)
	if !o.Changed() {
		t.Error("the new MTU is no change")
	}
	until(t, o, "MTU", func(i nic.Info) bool { return i.MTU == 1234 && i.Index == first.Index })
	pair.B.SetUp(false) // the other end: the carrier goes
	until(t, o, "carrier lost", func(i nic.Info) bool { return i.Exists() && !i.Up })
	pair.B.SetUp(true)
	until(t, o, "carrier back", func(i nic.Info) bool { return i.Up })
	pair.A.SetUp(false)
	until(t, o, "down", func(i nic.Info) bool { return !i.Up })

	pair.Unplug()
	until(t, o, "gone", func(i nic.Info) bool { return !i.Exists() })
	if err := pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	second := until(t, o, "back", func(i nic.Info) bool { return i.Up })
	if second.Index == first.Index || second.MAC != first.MAC {
		t.Errorf("first %+v, then %+v: want another index", first, second)
	}
}

func TestARenamedInterfaceIsFollowed(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	o, first := open(t, pair.A)
	for _, cmd := range [][]string{
		{"link", "set", "eth0", "down"},
		{"link", "set", "eth0", "name", "lan0"},
		{"link", "set", "lan0", "up"},
	} {
		if out, err := pair.A.Command("ip", cmd...).CombinedOutput(); err != nil {
			t.Skipf("needs the ip command of iproute2: %v %s", err, out)
		}
	}
	info := until(t, o, "renamed", func(i nic.Info) bool { return i.Up })
	if info.Name != "lan0" || info.Index != first.Index {
		t.Errorf("first %+v, then %+v", first, info)
	}
	pair.A.Interface = "lan0" // what Close has to remove
}

// TestH25TheLoopbackInterfaceIsRefused: frames sent there meet their sender, so
// an AoE target on the same host is never found; say so at once.
func TestH25TheLoopbackInterfaceIsRefused(t *testing.T) {
	_, _, err := nic.Open("lo")
	if err == nil || !strings.Contains(err.Error(), "veth") {
		t.Errorf("error %v: want the way to do it, a veth pair", err)
	}
}

func TestNoSuchInterface(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	err := pair.A.Do(func() error { _, _, err := nic.Open("eth7"); return err })
	if err == nil || !strings.Contains(err.Error(), `"eth7"`) || !strings.Contains(err.Error(), "there are eth0") {
		t.Errorf("error %v: want the interfaces there are", err)
	}
}
