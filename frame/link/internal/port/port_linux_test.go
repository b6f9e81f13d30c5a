package port

import (
	"errors"
	"net"
	"testing"
	"time"

	"aoe/frame/link/internal/nic"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// deaf is a receiver of nothing.
type deaf struct{}

func (deaf) FDs() []int                  { return nil }
func (deaf) Drain([][]byte) (d Drained)  { return d }
func (deaf) Heed(int) error              { return nil }
func (deaf) Follow(nic.Info, bool) error { return nil }
func (deaf) MTU(interfaces int) int      { return interfaces }
func (deaf) Drops() uint64               { return 0 }
func (deaf) Close() error                { return nil }

// openOn opens the host's interface on rx for a test, which closes it.
func openOn(t testing.TB, h *veth.Host, rx Receiver, poll time.Duration) *Link {
	t.Helper()
	var l *Link
	err := h.Do(func() (err error) {
		l, err = Open(Config{Package: "port", Interface: h.Interface, Poll: poll, Receive: func(nic.Info) (Receiver, error) { return rx, nil }})
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

// TestH19ABusyRecvNoticesChanges: one that always finds frames, or does not wait,
// never sleeps, and looks once in a while.
func TestH19ABusyRecvNoticesChanges(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a := openOn(t, pair.A, deaf{}, 0)
	pair.A.SetMTU(1400)
	bufs := [][]byte{make([]byte, 100)}
	for range LookEvery {
		if _, err := a.Recv(bufs, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.State().MTU; got != 1400 {
		t.Errorf("MTU %d after %d calls, want 1400", got, LookEvery)
	}
}

// TestAWakeWrittenLateIsHarmless: Wake finds Recv asleep and is interrupted
// before it writes the eventfd; Recv wakes for another reason meanwhile. The late
// write must not make all later waits return at once.
func TestAWakeWrittenLateIsHarmless(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	a := openOn(t, pair.A, deaf{}, 0)
	a.writeWake() // late: nobody sleeps, nothing is pending
	const timeout = 20 * time.Millisecond
	for i := range 2 {
		start := time.Now()
		n, err := a.Recv([][]byte{make([]byte, 100)}, timeout)
		if d := time.Since(start); n != 0 || err != nil || d < timeout {
			t.Errorf("Recv %d = %d, %v after %v", i, n, err, d)
		}
	}
}

// TestI10AWakeIsFreeWhenNobodySleeps: it costs no system call, so the eventfd
// stays as it is.
func TestI10AWakeIsFreeWhenNobodySleeps(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	a := openOn(t, pair.A, deaf{}, 0)
	for range 100 {
		a.Wake()
	}
	var count [8]byte
	if n, err := unix.Read(a.wakeFD, count[:]); err != unix.EAGAIN {
		t.Errorf("the eventfd was written: %d, %v, %v", n, err, count)
	}
}

// TestWatch: a Recv that waits hears of a watched descriptor, once for each time
// that something comes, and of its hang-up.
func TestWatch(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	a := openOn(t, pair.A, deaf{}, 0)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	if err := a.Watch(fds[0]); err != nil {
		t.Fatal(err)
	}
	bufs := [][]byte{make([]byte, 100)}
	// Other news, of the interface, end a Recv too.
	heard := func(wait time.Duration) bool {
		for end := time.Now().Add(wait); time.Now().Before(end); {
			if _, err := a.Recv(bufs, wait); err != nil {
				t.Fatal(err)
			}
			if a.Heard() {
				return true
			}
		}
		return false
	}
	const long, short = time.Minute, 20 * time.Millisecond
	for range 2 {
		if _, err := unix.Write(fds[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
		if !heard(long) {
			t.Fatal("did not hear of a byte")
		}
		if heard(short) {
			t.Fatal("heard of a byte twice")
		}
	}
	unix.Close(fds[1])
	if !heard(long) {
		t.Fatal("did not hear of the hang-up")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Watch(fds[0]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Watch of a closed link: %v", err)
	}
}
