package raw

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// openOn opens the host's interface for a test, which closes it.
func openOn(t testing.TB, h *veth.Host) (l *Link) {
	t.Helper()
	err := h.Do(func() (err error) { l, err = Open(h.Interface); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestRawConforms(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	linktest.Conformance{
		Open: func(t *testing.T) (a, b link.Link) { return openOn(t, pair.A), openOn(t, pair.B) },
		// The library's, per frame; Stats has some too.
		// What mdlayher/packet v1.1 takes a frame, on the mdlayher/socket v0.5
		// that other libraries here ask for; v1.0 took 7.
		SendAllocs: 12,
		RecvAllocs: 12,
		Flap: func(t *testing.T, up bool) {
			if err := pair.A.SetUp(up); err != nil {
				t.Fatal(err)
			}
		},
		Shrink: func(t *testing.T, mtu int) {
			for _, h := range []*veth.Host{pair.A, pair.B} {
				if err := h.SetMTU(mtu); err != nil {
					t.Fatal(err)
				}
			}
		},
	}.Run(t)
}

// TestH19TheInterfaceIsReplaced: the link goes on with the new one.
func TestH19TheInterfaceIsReplaced(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	a, b := openOn(t, pair.A), openOn(t, pair.B)
	if err := pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	f := frame.Pad(frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(nil))
	bufs := [][]byte{make([]byte, 100)}
	receive := func(from, l *Link, h *veth.Host) {
		t.Helper()
		// A link that is opened anew is opened in the namespace of this thread.
		err := h.Do(func() error {
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				if _, err := from.Send([][]byte{f}); err != nil {
					return err
				}
				if n, err := l.Recv(bufs, 20*time.Millisecond); n > 0 || err != nil {
					return err
				}
			}
			t.Errorf("nothing arrives at %+v any more; sender %+v, receiver %+v", l.State(), from.Stats(), l.Stats())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// A has to notice in Recv before it can send on its new interface.
	err := pair.A.Do(func() error {
		for end := time.Now().Add(10 * time.Second); a.State().Generation == 0 && time.Now().Before(end); {
			if _, err := a.Recv(bufs, time.Second); err != nil {
				return err
			}
		}
		return nil
	})
	if s := a.State(); err != nil || s.Generation == 0 || a.Stats().Flaps != 1 {
		t.Fatalf("state %+v, stats %+v, %v: want a change and a flap", s, a.Stats(), err)
	}
	receive(a, b, pair.B)
	frame.PutEthernet(f, pair.A.MAC, pair.B.MAC)
	receive(b, a, pair.A)
}

// TestH7FramesWithoutRoomAreCounted: nobody receives, so slots and socket
// buffer fill up; every frame is either received later or counted as dropped.
func TestH7FramesWithoutRoomAreCounted(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	a, b := openOn(t, pair.A), openOn(t, pair.B)
	const frames = 500
	f := make([]byte, 9000)
	frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(f[:0])
	for i := range frames {
		if _, err := a.Send([][]byte{f}); err != nil {
			t.Fatal(err)
		}
		// The slots first, one by one; what follows finds none.
		for end := time.Now().Add(10 * time.Second); len(b.filled) <= i && i < slots; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%d slots are filled after %d frames", len(b.filled), i+1)
			}
		}
	}
	bufs := make([][]byte, 16)
	for i := range bufs {
		bufs[i] = make([]byte, 9100)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if _, err := b.Recv(bufs, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.Received+s.KernelDropped+a.Stats().SendDropped == frames {
			if s.Received < slots || s.KernelDropped == 0 {
				t.Errorf("stats %+v: want at least %d received and some dropped", s, slots)
			}
			return
		}
	}
	t.Errorf("sent %d, stats %+v: some are neither received nor counted", frames, b.Stats())
}

// TestH10AFrameLongerThanTheSlotIsNotDelivered: a veth lets frames through that
// are four bytes longer than the receiver's MTU. Half a frame must not look
// like a whole one.
func TestH10AFrameLongerThanTheSlotIsNotDelivered(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	if err := pair.B.SetMTU(1500); err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A), openOn(t, pair.B)
	f := make([]byte, 1518)
	frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(f[:0])
	if n, err := a.Send([][]byte{f, f[:1514], f, f[:1514]}); n != 4 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	bufs := [][]byte{make([]byte, 9000)}
	for got := 0; got < 2; {
		n, err := b.Recv(bufs, 10*time.Second)
		if n == 0 || err != nil || len(bufs[0]) != 1514 {
			t.Fatalf("Recv = %d, %v, %d bytes; stats %+v", n, err, len(bufs[0]), b.Stats())
		}
		got += n
	}
	if s := b.Stats(); s.Truncated != 2 || s.Received != 2 {
		t.Errorf("stats %+v: want 2 truncated and 2 received", s)
	}
}

// TestH19TheMTUGrows: the slots grow with it.
func TestH19TheMTUGrows(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	if err := pair.B.SetMTU(1500); err != nil {
		t.Fatal(err)
	}
	a, b := openOn(t, pair.A), openOn(t, pair.B)
	if err := pair.B.SetMTU(9000); err != nil {
		t.Fatal(err)
	}
	bufs := [][]byte{make([]byte, 9100)}
	f := make([]byte, 9014)
	frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(f[:0])
	// The slot that waits for the first frame is still a small one.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if n, err := a.Send([][]byte{f}); n != 1 || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
		n, err := b.Recv(bufs, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 && len(bufs[0]) == len(f) {
			return
		}
	}
	t.Errorf("no long frame arrives: state %+v, stats %+v", b.State(), b.Stats())
}

func TestErrorsSayWhatToDo(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	err := pair.A.Do(func() error { _, err := Open("eth7"); return err })
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
		_, err := Open(pair.A.Interface)
		return err
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "setcap cap_net_raw+ep aoe") {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}
