package ring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/net/bpf"
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

func TestTheRingConforms(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		pair := vethtest.New(t, veth.Config{MTU: mtu})
		linktest.Conformance{
			Open: func(t *testing.T) (a, b link.Link) {
				return openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
			},
			Flap: func(t *testing.T, up bool) {
				if err := pair.A.SetUp(up); err != nil {
					t.Fatal(err)
				}
			},
			Shrink: func(t *testing.T, mtu int) {
				if err := pair.A.SetMTU(mtu); err != nil {
					t.Fatal(err)
				}
			},
		}.Run(t)
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

func send(t *testing.T, l *Link, frames ...[]byte) {
	t.Helper()
	if n, err := l.Send(frames); n != len(frames) || err != nil {
		t.Fatalf("Send of %d frames = %d, %v; stats %+v", len(frames), n, err, l.Stats())
	}
}

func receive(t *testing.T, l *Link) []byte {
	t.Helper()
	bufs := [][]byte{make([]byte, 0, 70000)}
	for end := time.Now().Add(10 * time.Second); ; {
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

// until receives until the state is as wanted. It runs outside the link's
// namespace, like a daemon that serves several.
func until(t *testing.T, l *Link, what string, wanted func(link.State) bool) {
	t.Helper()
	bufs := [][]byte{make([]byte, 100)}
	for end := time.Now().Add(10 * time.Second); !wanted(l.State()); {
		if _, err := l.Recv(bufs, time.Until(end)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the state is still %+v", what, l.State())
		}
	}
}

// TestH10AFrameLongerThanTheSlotIsNotDelivered: a veth lets frames through that
// are four bytes longer than the receiver's MTU. Half a frame must not look
// like a whole one.
func TestH10AFrameLongerThanTheSlotIsNotDelivered(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	// 80 + 1504 is a multiple of 16: the slots hold not one byte more.
	if err := pair.B.SetMTU(1504); err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
	fits := makeFrame(pair.B, pair.A, 1504+frame.EthernetLen)
	long := makeFrame(pair.B, pair.A, 1504+frame.EthernetLen+1)
	send(t, a, long, fits, long, fits)
	for range 2 {
		if got := receive(t, b); !bytes.Equal(got, fits) {
			t.Errorf("received %d bytes, want %d", len(got), len(fits))
		}
	}
	if s := b.Stats(); s.Truncated != 2 || s.Received != 2 {
		t.Errorf("stats %+v: want 2 truncated and 2 received", s)
	}
}

// TestH10ATagTakenOffByHardwareIsForeign: the kernel says so in the slot.
func TestH10ATagTakenOffByHardwareIsForeign(t *testing.T) {
	geo := geometryFor(1500, 2)
	r := &receiver{geo: geo, mem: make([]byte, geo.bytes())}
	put := func(i int, status uint32) {
		h := headerAt(r.mem, geo.offset(i))
		*h = unix.Tpacket2Hdr{Status: status, Len: 100, Snaplen: 100, Mac: slotHeader - frame.EthernetLen}
	}
	put(0, unix.TP_STATUS_USER|unix.TP_STATUS_VLAN_VALID)
	put(1, unix.TP_STATUS_USER)
	buf := make([]byte, 200)
	for i, want := range []slotVerdict{slotForeign, slotFrame, slotEmpty} {
		if _, got := r.next(buf); got != want {
			t.Errorf("slot %d: verdict %v, want %v", i, got, want)
		}
	}
	for i := range 2 {
		if s := headerAt(r.mem, geo.offset(i)).Status; s != unix.TP_STATUS_KERNEL {
			t.Errorf("slot %d was not given back: status %#x", i, s)
		}
	}
}

// TestH7EveryFrameIsReceivedOrCounted: nobody receives, the ring fills up.
func TestH7EveryFrameIsReceivedOrCounted(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{Frames: 20})
	const frames = 50
	f := makeFrame(pair.B, pair.A, 9000)
	for range frames {
		send(t, a, f)
	}
	slots := uint64(b.rx.geo.slots())
	bufs := [][]byte{make([]byte, 9100)}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if _, err := b.Recv(bufs, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.Received+s.KernelDropped == frames {
			if s.Received != slots {
				t.Errorf("stats %+v: want %d received, as many as there are slots", s, slots)
			}
			if again := b.Stats(); again != s {
				t.Errorf("stats %+v, and again %+v", s, again)
			}
			return
		}
	}
	t.Errorf("sent %d, stats %+v: some are neither received nor counted", frames, b.Stats())
}

// TestH19TheMTUGrowsBeyondTheSlots: the ring is made anew on the same socket, so
// that it stays in its namespace, with its filter.
func TestH19TheMTUGrowsBeyondTheSlots(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	if err := pair.A.SetMTU(1500); err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
	small := a.rx.geo
	if err := pair.A.SetMTU(9000); err != nil {
		t.Fatal(err)
	}
	until(t, a, "MTU", func(s link.State) bool { return s.MTU == 9000 })
	if a.rx.geo.slotSize <= small.slotSize || a.rx.geo.slots() < small.slots() {
		t.Errorf("the ring was %+v and is %+v", small, a.rx.geo)
	}
	big := makeFrame(pair.A, pair.B, 9000+frame.EthernetLen)
	foreign := makeFrame(pair.A, pair.B, 100)
	foreign[12] = 0x88 // not AoE
	foreign[13] = 0xb5
	send(t, b, foreign, big)
	if got := receive(t, a); !bytes.Equal(got, big) {
		t.Errorf("received %d bytes, want %d", len(got), len(big))
	}
	// It does not shrink: what fits big frames fits small ones.
	large := a.rx.geo
	pair.A.SetMTU(1500)
	until(t, a, "MTU", func(s link.State) bool { return s.MTU == 1500 })
	if a.rx.geo != large {
		t.Errorf("the ring was %+v and is %+v", large, a.rx.geo)
	}
}

// TestH19MinMTUMakesRoomAhead: then a growing MTU costs nothing.
func TestH19MinMTUMakesRoomAhead(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a := openOn(t, pair.A, Config{MinMTU: 9000})
	before := a.rx.geo
	pair.A.SetMTU(9000)
	until(t, a, "MTU", func(s link.State) bool { return s.MTU == 9000 })
	if a.rx.geo != before {
		t.Errorf("the ring was %+v and is %+v", before, a.rx.geo)
	}
}

// TestH19WithoutMemoryTheOldRingStays: what is too long for it is counted.
func TestH19WithoutMemoryTheOldRingStays(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
	before := a.rx.geo
	err := a.rx.grow(1 << 23) // more than maxBytes; nobody receives
	if err != nil || a.rx.geo != before {
		t.Errorf("grow: %v, the ring was %+v and is %+v", err, before, a.rx.geo)
	}
	f := makeFrame(pair.A, pair.B, 1000)
	send(t, b, f)
	if got := receive(t, a); !bytes.Equal(got, f) {
		t.Errorf("received %x", got)
	}
}

// TestH19TheInterfaceIsReplaced: another index, the same name.
func TestH19TheInterfaceIsReplaced(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
	for round := range uint64(2) {
		if err := pair.Unplug(); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*Link{a, b} {
			until(t, l, "gone", func(s link.State) bool { return !s.Up })
			f := makeFrame(pair.B, pair.A, 60)
			if n, err := l.Send([][]byte{f}); n != 0 || err != nil {
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

func TestAFilterOfOnesOwn(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	// Only tag 7 passes.
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: frame.TagOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 7, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: snapAll},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{Filter: program})
	seven, eight := makeFrame(pair.B, pair.A, 100), makeFrame(pair.B, pair.A, 100)
	frame.PutTag(seven, 7)
	frame.PutTag(eight, 8)
	send(t, a, eight, seven)
	if got := receive(t, b); !bytes.Equal(got, seven) {
		t.Errorf("received %x, want tag 7 alone", got)
	}
}

// loadFilter loads an eBPF socket filter that passes n bytes of every frame.
func loadFilter(t *testing.T, n uint32) int {
	t.Helper()
	// r0 = n; exit. See bpf(2) and linux/bpf.h.
	program := binary.NativeEndian.AppendUint32([]byte{0xb7, 0, 0, 0}, n)
	program = append(program, 0x95, 0, 0, 0, 0, 0, 0, 0)
	license := []byte("MIT\x00")
	attr := struct {
		kind, count    uint32
		insns, license uint64
		_              [96]byte
	}{
		kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: uint32(len(program) / 8),
		insns:   uint64(uintptr(unsafe.Pointer(&program[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		t.Skipf("needs CAP_BPF and a kernel with bpf(2): %v", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	return int(fd)
}

func TestAnEBPFFilterIsUsed(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	a := openOn(t, pair.A, Config{})
	deaf, open := openOn(t, pair.B, Config{FilterFD: loadFilter(t, 0)}), openOn(t, pair.B, Config{FilterFD: loadFilter(t, snapAll)})
	f := makeFrame(pair.B, pair.A, 100)
	send(t, a, f)
	if got := receive(t, open); !bytes.Equal(got, f) {
		t.Errorf("received %x", got)
	}
	if n, err := deaf.Recv([][]byte{make([]byte, 200)}, 0); n != 0 || err != nil || deaf.Stats().Received != 0 {
		t.Errorf("Recv = %d, %v, stats %+v: want nothing past the filter", n, err, deaf.Stats())
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	err := pair.A.Do(func() error { _, err := Open(Config{Interface: "eth7"}); return err })
	if err == nil || !strings.Contains(err.Error(), "there are eth0") {
		t.Errorf("no such interface: %v", err)
	}
	// The thread gives up all capabilities: it cannot go home, and dies.
	var opened *Link
	err = pair.A.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Fatal(err)
		}
		var err error
		opened, err = Open(Config{Interface: pair.A.Interface})
		return err
	})
	if opened != nil || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "setcap cap_net_raw+ep aoe") {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
	if strings.Count(err.Error(), "ring: ") != 1 {
		t.Errorf("%q names the package more than once", err)
	}
	err = pair.A.Do(func() error { _, err := Open(Config{Interface: pair.A.Interface, Frames: 1 << 20}); return err })
	if err == nil || !strings.Contains(err.Error(), "at most 1073741824") {
		t.Errorf("a ring of a million slots: %v", err)
	}
}
