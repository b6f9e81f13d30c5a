package hold

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/target"
	"aoe/target/store"
)

var (
	ours   = frame.MAC{2, 0, 0, 0, 0, 1}
	theirs = frame.MAC{2, 0, 0, 0, 0, 2}
	e11    = frame.Addr{Shelf: 1, Slot: 1}
)

// segment is a switch with a target that serves 1 MiB, and our port.
func segment(t *testing.T, mode target.Mode) (*linktest.Switch, *target.Server, link.Link) {
	t.Helper()
	noLeaks(t)
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddDisk(target.Disk{Addr: e11, Store: store.Memory(1 << 20), Mode: mode, Serial: "S1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddLink(sw.Port(theirs)); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }() // ends with s.Close
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return sw, s, sw.Port(ours)
}

// noLeaks fails the test when goroutines are left at its end.
func noLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

func config(t *testing.T, l link.Link) Config {
	return Config{
		Disk: initiator.Config{Link: l, Addr: e11}, Via: "nbd",
		Dir: rundir.Dir(t.TempDir()), Watch: time.Millisecond,
	}
}

// TestLifeOfAnAttachedDisk: attached, listed with everything there is to know,
// detached by another process, and nothing left.
func TestLifeOfAnAttachedDisk(t *testing.T) {
	_, s, port := segment(t, target.ModeFlush)
	cfg := config(t, port)
	h, err := Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	st, err := cfg.Dir.Status(t.Context(), e11)
	if err != nil {
		t.Fatal(err)
	}
	if st.State != "up" || st.SizeBytes != 1<<20 || st.Serial != "S1" || st.Device != h.Device() ||
		st.PID != os.Getpid() || st.Stats == nil || st.Stats.Target != theirs || st.NBD == nil || st.FUSE != nil {
		t.Errorf("status %+v", st)
	}
	if conn, err := net.Dial("unix", h.Device()); err != nil {
		t.Errorf("nobody serves the socket: %v", err)
	} else {
		conn.Close()
	}
	ran := make(chan error, 1)
	go func() { ran <- h.Run(nil, func(s string) { t.Errorf("said %q", s) }) }()
	if err := cfg.Dir.Detach(t.Context(), e11); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if n := s.Stats().Disks[0].Flushes; n != 1 {
		t.Errorf("%d flushes: a disk with a write cache is flushed when it is detached", n)
	}
	left, err := os.ReadDir(string(cfg.Dir))
	if err != nil || len(left) != 1 || left[0].Name() != "e1.1.lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := port.Send(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the link is still open: %v", err)
	}
}

// TestFailedAttachLeavesNothing, at each step at which it can fail.
func TestFailedAttachLeavesNothing(t *testing.T) {
	sw, _, port := segment(t, target.ModeSync)
	cfg := config(t, port)
	h, err := Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(*Config)
		want   error
		text   string
	}{
		{"attached already", func(*Config) {}, rundir.ErrAttached, ""},
		{"nobody there", func(c *Config) { c.Disk.Addr.Slot = 9 }, initiator.ErrNoAnswer, ""},
		{"the wrong disk", func(c *Config) { c.Disk.Serial = "S2"; c.Dir = rundir.Dir(t.TempDir()) }, initiator.ErrReplaced, ""},
		{"no such way", func(c *Config) { c.Via = "scsi" }, nil, "there is no way"},
		{"a socket nowhere", func(c *Config) {
			c.Socket, c.Dir = "/nowhere/sock", rundir.Dir(t.TempDir())
		}, os.ErrNotExist, ""},
		{"negative time", func(c *Config) { c.Watch = -1 }, nil, "negative"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bad := cfg
			bad.Disk.Link = sw.Port(frame.MAC{2, 0, 0, 0, 0, 9})
			row.change(&bad)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := Attach(ctx, bad)
			if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("error %v, want %v %s", err, row.want, row.text)
			}
			if _, err := bad.Disk.Link.Send(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("its link is still open: %v", err)
			}
			if bad.Dir == cfg.Dir {
				return
			}
			if l, err := bad.Dir.List(); err != nil || len(l) != 0 {
				t.Errorf("listed %v, %v", l, err)
			}
		})
	}
	if _, err := Attach(t.Context(), Config{}); err == nil {
		t.Error("attached without a link")
	}
	if st := h.Status(); st.State != "up" {
		t.Errorf("the disk that was attached is %s", st.State)
	}
	if err := errors.Join(h.Detach(t.Context()), h.Close()); err != nil {
		t.Error(err)
	}
}

// A fakeFront is a device that can be in use, hang, or vanish.
type fakeFront struct {
	mu        sync.Mutex
	closeErr  error
	hang      bool
	closed    int
	abandoned int
	sizes     int
	gone      chan struct{}
}

func (f *fakeFront) path() string { return "/dev/fake0" }
func (f *fakeFront) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed++
	hang, err := f.hang, f.closeErr
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return fmt.Errorf("fake: the target is silent: %w", ctx.Err())
	}
	return err
}
func (f *fakeFront) abandon(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.abandoned++
	return nil
}
func (f *fakeFront) resize() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes++
	return nil
}
func (f *fakeFront) done() <-chan struct{} { return f.gone }
func (f *fakeFront) stats(*rundir.Status)  {}

// held is a Hold with a fake device.
func held(t *testing.T) (*Hold, *fakeFront) {
	t.Helper()
	_, h, f := heldOn(t, target.ModeSync)
	return h, f
}

// heldOn is held, with a target of that mode, and the switch in between.
func heldOn(t *testing.T, mode target.Mode) (*linktest.Switch, *Hold, *fakeFront) {
	t.Helper()
	sw, _, port := segment(t, mode)
	h, err := Attach(t.Context(), config(t, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	h.stop() // the watch of the device that is replaced
	h.watching.Wait()
	if err := h.front.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fakeFront{gone: make(chan struct{})}
	h.front = f
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.watching.Go(func() { h.watch(ctx) })
	return sw, h, f
}

// TestSignalWhileInUseIsRefused with the place named, and the disk stays.
func TestSignalWhileInUseIsRefused(t *testing.T) {
	h, f := held(t)
	f.closeErr = &attach.InUseError{Device: "/dev/fake0", By: []string{"mounted on /mnt"}}
	signals, said, ran := make(chan os.Signal), make(chan string), make(chan error, 1)
	go func() { ran <- h.Run(signals, func(s string) { said <- s }) }()
	for range 2 {
		signals <- os.Interrupt
		if s := <-said; !strings.Contains(s, "mounted on /mnt") || !strings.Contains(s, "e1.1 stays attached") {
			t.Errorf("said %q", s)
		}
	}
	if st := h.Status(); st.State != "up" {
		t.Errorf("after the refusal it is %s", st.State)
	}
	f.mu.Lock()
	f.closeErr = nil
	f.mu.Unlock()
	signals <- os.Interrupt
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if f.closed != 3 || f.abandoned != 0 {
		t.Errorf("closed %d times, abandoned %d times", f.closed, f.abandoned)
	}
}

// TestSecondSignalEndsAHangingDetach: the first waits for the target, the
// second ends the waiting, the third gives the device up.
func TestSecondSignalEndsAHangingDetach(t *testing.T) {
	h, f := held(t)
	f.hang = true
	signals, said, ran := make(chan os.Signal), make(chan string), make(chan error, 1)
	go func() { ran <- h.Run(signals, func(s string) { said <- s }) }()
	signals <- os.Interrupt
	signals <- os.Interrupt
	if s := <-said; !strings.Contains(s, "A further signal gives it up") {
		t.Errorf("said %q", s)
	}
	signals <- os.Interrupt
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if f.abandoned != 1 {
		t.Errorf("abandoned %d times", f.abandoned)
	}
}

// TestH1TakeOverOutlivesFrames: who takes over does not begin before the frames
// of the process that died have died too, and gives up when it must.
func TestH1TakeOverOutlivesFrames(t *testing.T) {
	const life = 400 * time.Millisecond // Open alone takes 100
	_, _, port := segment(t, target.ModeSync)
	cfg := config(t, port)
	cfg.TakeOver, cfg.Disk.FrameLife = true, life
	began := time.Now()
	h, err := Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < life {
		t.Errorf("began after %v: a frame lives for %v", took, life)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := outlive(ctx, cfg, time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestLastFlushThatFailsIsTold: the device is gone, but the target does not
// answer the flush behind it. That is an error, and nothing stays attached.
func TestLastFlushThatFailsIsTold(t *testing.T) {
	sw, h, f := heldOn(t, target.ModeFlush)
	sw.Cut(ours, theirs)
	signals, ran := make(chan os.Signal), make(chan error, 1)
	go func() { ran <- h.Run(signals, func(s string) { t.Errorf("said %q", s) }) }()
	signals <- os.Interrupt
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		f.mu.Lock()
		closed := f.closed
		f.mu.Unlock()
		if closed == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the device was not closed")
		}
	}
	signals <- os.Interrupt // ends the waiting
	if err := <-ran; err == nil || !strings.Contains(err.Error(), "the last flush failed") {
		t.Errorf("ended with %v", err)
	}
}

// TestDeviceThatIsGoneEndsTheHold: somebody unmounted it by hand.
func TestDeviceThatIsGoneEndsTheHold(t *testing.T) {
	h, f := held(t)
	ran := make(chan error, 1)
	go func() { ran <- h.Run(nil, func(s string) { t.Errorf("said %q", s) }) }()
	close(f.gone)
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if f.abandoned != 1 {
		t.Errorf("what was left was cleared away %d times", f.abandoned)
	}
}

// TestTwoDetachesAreOne: the second waits and finds it done.
func TestTwoDetachesAreOne(t *testing.T) {
	h, f := held(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := h.Detach(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.closed != 1 {
		t.Errorf("closed %d times", f.closed)
	}
}

func TestSocketIsNamedAfterTheDisk(t *testing.T) {
	_, _, port := segment(t, target.ModeSync)
	cfg := config(t, port)
	h, err := Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(string(cfg.Dir), "e1.1.nbd"); h.Device() != want {
		t.Errorf("socket %s, want %s", h.Device(), want)
	}
	if err := h.Close(); err != nil { // without Detach: abandoned
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
