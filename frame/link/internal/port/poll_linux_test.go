package port

import (
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// TestPollsWhereItHelps: a wait in which nothing came is followed by waits that do
// not poll, twice as many each time, and half as many after one in which something did.
func TestPollsWhereItHelps(t *testing.T) {
	p := poller{most: time.Microsecond}
	sleeps := func() (n int) {
		for !p.due() {
			n++
		}
		return n
	}
	for i, row := range []struct {
		well bool
		want int
	}{
		{true, 0}, {false, 1}, {false, 3}, {false, 7}, {true, 0}, {false, 7}, {false, 15},
		{false, 31}, {false, 63}, {false, 127}, {false, 255}, {false, 255},
		{true, 0}, {true, 0}, {false, 127},
	} {
		p.ended(row.well)
		if got := sleeps(); got != row.want {
			t.Errorf("%d: %d waits without polling, want %d", i, got, row.want)
		}
	}
	if (&poller{}).due() {
		t.Error("polls, though it is not to")
	}
}

// A late receiver calls at in the look-th look for frames, which finds what that
// returns. It has no descriptor: a Recv that sleeps would never hear of them.
type late struct {
	deaf
	looks int
	look  int
	at    func() Drained
}

func (l *late) Drain([][]byte) Drained {
	if l.looks++; l.looks == l.look {
		return l.at()
	}
	return Drained{}
}

// openPolling is openOn for a link that polls for as long as it takes.
func openPolling(t *testing.T, h *veth.Host, rx Receiver) *Link {
	t.Helper()
	return openOn(t, h, rx, time.Hour)
}

// A frame, or something else, is there at the looks-th look. Who looks elsewhere may
// hear news of an interface before that, and sleeps then, for patience at most.
const (
	looks    = 100
	patience = time.Second
)

// TestPollFindsFrames without having slept.
func TestPollFindsFrames(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	rx := &late{look: looks, at: func() Drained { return Drained{Frames: 1} }}
	l := openPolling(t, pair.A, rx)
	n, err := l.Recv(make([][]byte, 1), -1)
	if n != 1 || err != nil || rx.looks != looks {
		t.Errorf("Recv = %d, %v after %d looks, want 1 after %d", n, err, rx.looks, looks)
	}
}

// TestWakeEndsPolling, and costs no system call.
func TestWakeEndsPolling(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	var l *Link
	l = openPolling(t, pair.A, &late{look: looks, at: func() Drained { l.Wake(); return Drained{} }})
	if n, err := l.Recv(make([][]byte, 1), -1); n != 0 || err != nil {
		t.Errorf("Recv = %d, %v, want 0", n, err)
	}
	var count [8]byte
	if _, err := unix.Read(l.wakeFD, count[:]); err != unix.EAGAIN {
		t.Errorf("the eventfd was written: %v", err)
	}
}

// TestCloseEndsPolling.
func TestCloseEndsPolling(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	var l *Link
	closed := make(chan error, 1)
	l = openPolling(t, pair.A, &late{look: looks, at: func() Drained { go func() { closed <- l.Close() }(); return Drained{} }})
	if n, err := l.Recv(make([][]byte, 1), -1); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Recv = %d, %v, want net.ErrClosed", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestTimeoutEndsPolling.
func TestTimeoutEndsPolling(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	l := openPolling(t, pair.A, deaf{})
	const timeout = 5 * time.Millisecond
	start := time.Now()
	n, err := l.Recv(make([][]byte, 1), timeout)
	if took := time.Since(start); n != 0 || err != nil || took < timeout {
		t.Errorf("Recv = %d, %v after %v", n, err, took)
	}
}

// TestWatchedEndsPolling: who waits for something else too hears of it.
func TestWatchedEndsPolling(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 1500})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	l := openPolling(t, pair.A, &late{look: looks, at: func() Drained {
		if _, err := unix.Write(fds[1], []byte{1}); err != nil {
			t.Error(err)
		}
		return Drained{}
	}})
	if err := l.Watch(fds[0]); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if n, err := l.Recv(make([][]byte, 1), patience); n != 0 || err != nil {
			t.Fatalf("Recv = %d, %v", n, err)
		}
		if l.Heard() {
			return
		}
	}
	t.Error("nothing was heard")
}

// TestI10PollingDoesNotAllocate.
func TestI10PollingDoesNotAllocate(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	rx := &late{at: func() Drained { return Drained{Frames: 1} }}
	l := openPolling(t, pair.A, rx)
	l.watching.Store(true) // it looks elsewhere too
	bufs := make([][]byte, 1)
	if n := testing.AllocsPerRun(10, func() {
		rx.looks, rx.look = 0, looks
		if _, err := l.Recv(bufs, patience); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A contested receiver finds a frame when another thread has had the processor.
type contested struct {
	deaf
	own    poller
	before int64
	t      *testing.T
}

func (c *contested) Drain([][]byte) Drained {
	now, err := c.own.preemptions()
	if err != nil {
		c.t.Fatal(err)
	}
	switch {
	case c.before == 0:
		c.before = now + 1
	case now >= c.before:
		return Drained{Frames: 1}
	}
	return Drained{}
}

// TestPollingGivesWayToOthers: where another thread wants the processor, the next
// waits sleep, though a frame was found.
func TestPollingGivesWayToOthers(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	l := openPolling(t, pair.A, &contested{t: t})
	var one unix.CPUSet
	one.Set(firstProcessor(t))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer affinity(t, one)()
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer affinity(t, one)()
		for !stop.Load() {
		}
	}()
	n, err := l.Recv(make([][]byte, 1), -1)
	stop.Store(true)
	<-stopped
	if n != 1 || err != nil || l.poller.left != 1 {
		t.Errorf("Recv = %d, %v, and %d waits sleep, want 1 and 1", n, err, l.poller.left)
	}
}

// firstProcessor is one that this process may run on.
func firstProcessor(t *testing.T) int {
	t.Helper()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if may.IsSet(i) {
			return i
		}
	}
}

// affinity keeps the thread on the processors of set until the function that it
// returns is called.
func affinity(t *testing.T, set unix.CPUSet) func() {
	var before unix.CPUSet
	err := unix.SchedGetaffinity(0, &before)
	if err == nil {
		err = unix.SchedSetaffinity(0, &set)
	}
	if err != nil {
		t.Error(err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			t.Error(err)
		}
	}
}
