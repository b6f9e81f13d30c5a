package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openOn opens the host's interface for a test, which closes it.
func openOn(t testing.TB, h *veth.Host, cfg Config) *Link {
	t.Helper()
	cfg.Interface = h.Interface
	var l *Link
	err := h.Do(func() (err error) {
		l, err = Open(cfg)
		return err
	})
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// sender is a port of the other kind: what it sends is what is on the wire.
func sender(t *testing.T, h *veth.Host) *ring.Link {
	t.Helper()
	var l *ring.Link
	if err := h.Do(func() (err error) { l, err = ring.Open(ring.Config{Interface: h.Interface}); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestTheSocketConforms(t *testing.T) {
	for _, row := range []struct {
		mtu    int
		single bool
	}{{1500, false}, {9000, false}, {1500, true}} {
		t.Run(fmt.Sprintf("MTU=%d,single=%v", row.mtu, row.single), func(t *testing.T) {
			pair := vethtest.New(t, veth.Config{MTU: row.mtu})
			c := linktest.Conformance{
				Open: func(t *testing.T) (a, b link.Link) {
					return openOn(t, pair.A, Config{Single: row.single}), openOn(t, pair.B, Config{Single: row.single})
				},
				Flap: func(t *testing.T, up bool) {
					if err := pair.A.SetUp(up); err != nil {
						t.Fatal(err)
					}
				},
			}
			if !row.single { // which cannot follow to 4000
				c.Shrink = func(t *testing.T, mtu int) {
					if err := pair.A.SetMTU(mtu); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.Run(t)
		})
	}
}

// makeFrame is a frame of n bytes.
func makeFrame(dst, src *veth.Host, n int) []byte {
	f := make([]byte, n)
	frame.Header{Dst: dst.MAC, Src: src.MAC}.Append(f[:0])
	for i := frame.HeaderLen; i < n; i++ {
		f[i] = byte(i * 7)
	}
	return f
}

func send(t *testing.T, l link.Link, frames ...[]byte) {
	t.Helper()
	if n, err := l.Send(frames); n != len(frames) || err != nil {
		t.Fatalf("Send of %d frames = %d, %v; stats %+v", len(frames), n, err, l.Stats())
	}
}

const patience = 30 * time.Second

// receive is called outside the link's namespace, like a daemon that serves several.
func receive(t *testing.T, l link.Link) []byte {
	t.Helper()
	bufs := [][]byte{make([]byte, 0, 70000)}
	for end := time.Now().Add(patience); ; {
		n, err := l.Recv(bufs, time.Until(end))
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return bufs[0]
		}
		if time.Now().After(end) {
			t.Fatalf("nothing received: state %+v, stats %+v", l.State(), l.Stats())
		}
	}
}

// until receives until the state is as wanted.
func until(t *testing.T, l link.Link, what string, wanted func(link.State) bool) {
	t.Helper()
	bufs := [][]byte{make([]byte, 100)}
	for end := time.Now().Add(patience); !wanted(l.State()); {
		if _, err := l.Recv(bufs, time.Until(end)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the state is still %+v", what, l.State())
		}
	}
}

// TestH7EveryFrameIsReceivedOrCounted: nobody receives, the chunks are used up.
// When they have come back, frames arrive again, as many as before.
func TestH7EveryFrameIsReceivedOrCounted(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	a, b := sender(t, pair.A), openOn(t, pair.B, Config{Frames: 20})
	const frames, room = 50, 20
	f := makeFrame(pair.B, pair.A, 9000)
	bufs := [][]byte{make([]byte, 9100)}
	for round := uint64(1); round <= 3; round++ {
		for range frames {
			send(t, a, f)
		}
		// Not before all have arrived: what is taken out makes room.
		for end := time.Now().Add(patience); b.Stats().KernelDropped != round*(frames-room); runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("sent %d, stats %+v: want %d dropped, for which there is no room", round*frames, b.Stats(), round*(frames-room))
			}
		}
		for range room {
			if got := receive(t, b); !bytes.Equal(got, f) {
				t.Fatalf("received %d bytes, want %d", len(got), len(f))
			}
		}
		if n, err := b.Recv(bufs, 0); n != 0 || err != nil {
			t.Errorf("Recv of more than there is room for = %d, %v", n, err)
		}
	}
	if one, again := b.Stats(), b.Stats(); one != again {
		t.Errorf("stats %+v, and again %+v", one, again)
	}
}

// TestAFrameInOneChunk: without frames in several chunks, before Linux 6.6, the
// MTU is what fits one, and what is longer is counted.
func TestAFrameInOneChunk(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	a, b := sender(t, pair.A), openOn(t, pair.B, Config{Single: true})
	const most = 4096 - 256 - frame.EthernetLen
	if got := b.State().MTU; got != most {
		t.Fatalf("the MTU is %d, want %d", got, most)
	}
	fits := makeFrame(pair.B, pair.A, most+frame.EthernetLen)
	long := makeFrame(pair.B, pair.A, most+frame.EthernetLen+1)
	send(t, a, long, fits, long, fits)
	for range 2 {
		if got := receive(t, b); !bytes.Equal(got, fits) {
			t.Errorf("received %d bytes, want %d", len(got), len(fits))
		}
	}
	if s := b.Stats(); s.KernelDropped != 2 || s.Received != 2 {
		t.Errorf("stats %+v: want 2 dropped and 2 received", s)
	}
}

// TestH19TheMTUGrows: the chunks are smaller than the frames now, and a frame takes
// more of them.
func TestH19TheMTUGrows(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	if err := pair.A.SetMTU(1500); err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A, Config{}), sender(t, pair.B)
	if err := pair.A.SetMTU(9000); err != nil {
		t.Fatal(err)
	}
	until(t, a, "MTU", func(s link.State) bool { return s.MTU == 9000 })
	big := makeFrame(pair.A, pair.B, 9000+frame.EthernetLen)
	for range 2 * DefaultFrames { // more than there are chunks for
		send(t, b, big)
		if got := receive(t, a); !bytes.Equal(got, big) {
			t.Fatalf("received %d bytes, want %d", len(got), len(big))
		}
	}
}

// TestH19TheInterfaceIsReplaced: another index, the same name, and new sockets in
// the namespace of the old ones.
func TestH19TheInterfaceIsReplaced(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
	for round := range uint64(2) {
		if err := pair.Unplug(); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*Link{a, b} {
			until(t, l, "gone", func(s link.State) bool { return !s.Up })
			if n, err := l.Send([][]byte{makeFrame(pair.B, pair.A, 60)}); n != 0 || err != nil {
				t.Errorf("Send without an interface = %d, %v", n, err)
			}
		}
		if err := pair.Recreate(); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*Link{a, b} {
			until(t, l, "back", func(s link.State) bool { return s.Up })
			if s := l.Stats(); s.Flaps != round+1 || s.SendDropped != round+1 {
				t.Errorf("round %d: stats %+v", round, s)
			}
		}
		there, back := makeFrame(pair.B, pair.A, 70), makeFrame(pair.A, pair.B, 80)
		send(t, a, there)
		send(t, b, back)
		if got := receive(t, b); !bytes.Equal(got, there) {
			t.Errorf("B received %x", got)
		}
		if got := receive(t, a); !bytes.Equal(got, back) {
			t.Errorf("A received %x", got)
		}
	}
}

// TestAMACThatChangesIsFollowed: frames to the new address are for this host, and
// those to the old one are not.
func TestAMACThatChangesIsFollowed(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	a, b := openOn(t, pair.A, Config{}), sender(t, pair.B)
	old := makeFrame(pair.A, pair.B, 100)
	mac := frame.MAC{2, 0x11, 0x22, 0x33, 0x44, 0x55}
	err := pair.A.Do(func() error {
		l, err := netlink.LinkByName(pair.A.Interface)
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, mac[:])
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, a, "MAC", func(s link.State) bool { return s.MAC == mac })
	now := bytes.Clone(old)
	copy(now, mac[:])
	send(t, b, old, now)
	if got := receive(t, a); !bytes.Equal(got, now) {
		t.Errorf("received %x", got)
	}
}

// TestOneSocketToAQueue: a second link is told that there is another, and when that
// is closed nothing of it is left.
func TestOneSocketToAQueue(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	first := openOn(t, pair.A, Config{})
	var second *Link
	err := pair.A.Do(func() (err error) { second, err = Open(Config{Interface: pair.A.Interface}); return err })
	if second != nil || !errors.Is(err, ErrInUse) {
		t.Errorf("a second link: %v, want an error wrapping ErrInUse", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if attached(t, pair.A) {
		t.Error("after Close a program is on the interface")
	}
	openOn(t, pair.A, Config{})
}

// attached reports whether an XDP program is on the interface.
func attached(t *testing.T, h *veth.Host) (yes bool) {
	t.Helper()
	err := h.Do(func() error {
		l, err := netlink.LinkByName(h.Interface)
		if err != nil {
			return err
		}
		yes = l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

// told is a Steerer that steers nothing.
type told struct {
	queues []uint32
	err    error
}

func (s *told) Steer(queue uint32, socket int) error {
	s.queues = append(s.queues, queue)
	return s.err
}

// TestASteererIsTold of the socket of each queue, again when there are new ones, and
// the link has no program of its own.
func TestASteererIsTold(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	s := &told{}
	l := openOn(t, pair.A, Config{Steer: s})
	if fmt.Sprint(s.queues) != "[0]" || attached(t, pair.A) {
		t.Errorf("told of queues %v; a program is attached: %v", s.queues, attached(t, pair.A))
	}
	if err := pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	until(t, l, "replaced", func(s link.State) bool { return s.Generation > 0 && s.Up })
	if fmt.Sprint(s.queues) != "[0 0]" {
		t.Errorf("told of queues %v", s.queues)
	}
	failure := errors.New("no room")
	err := pair.B.Do(func() error {
		_, err := Open(Config{Interface: pair.B.Interface, Steer: &told{err: failure}})
		return err
	})
	if !errors.Is(err, failure) {
		t.Errorf("a steerer that fails: %v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	err := pair.A.Do(func() error { _, err := Open(Config{Interface: "eth7"}); return err })
	if err == nil || !strings.Contains(err.Error(), "there are eth0") {
		t.Errorf("no such interface: %v", err)
	}
	// The thread gives up all capabilities: it cannot go home, and dies.
	err = pair.A.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Config{Interface: pair.A.Interface})
		return err
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "setcap ") || strings.Count(err.Error(), "xdp: ") != 1 {
		t.Errorf("without capabilities: %v", err)
	}
	err = pair.A.Do(func() error { _, err := Open(Config{Interface: pair.A.Interface, Frames: 1 << 20}); return err })
	if err == nil || !strings.Contains(err.Error(), "at most 268435456") {
		t.Errorf("room for a million frames: %v", err)
	}
}
