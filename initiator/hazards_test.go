package initiator

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

// TestH6SlowFlushIsNotHammered: a flush of 300 ms is sent once, while reads go
// on, although a read that takes so long would have been sent again.
func TestH6SlowFlushIsNotHammered(t *testing.T) {
	b := newBed(t, bedConfig{target: initiatortest.Config{Faults: initiatortest.Faults{FlushDelay: 300 * time.Millisecond}}})
	flushed := make(chan error, 1)
	go func() { flushed <- b.disk.Flush(b.ctx()) }()
	b.until("the flush has arrived", func() bool { return b.target.Seen().Flushes > 0 })
	p := make([]byte, 4096)
	for range 20 {
		if _, err := b.disk.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if n := b.target.Seen().Flushes; n != 1 {
		t.Errorf("the flush was executed %d times", n)
	}
}

// TestH11TypedErrors: what the target says comes out as a type, at once.
func TestH11TypedErrors(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{RTOMin: time.Second}}) // whatever else the machine does
	p := make([]byte, 16<<10)
	for _, code := range []aoe.Error{aoe.ErrorBadArgumentParameter, aoe.ErrorDeviceUnavailable, aoe.ErrorTargetIsReserved, 77} {
		b.target.Change(func(c *initiatortest.Config) { c.Faults.AoEError = code })
		_, err := b.disk.ReadAt(p, 0)
		var te *TargetError
		if !errors.As(err, &te) || te.Code != code {
			t.Errorf("code %d: %v", code, err)
		}
		if err := b.disk.Flush(b.ctx()); !errors.As(err, &te) {
			t.Errorf("flush, code %d: %v", code, err)
		}
	}
	b.target.Change(func(c *initiatortest.Config) { c.Faults.AoEError, c.Faults.ATAError = 0, frame.ErrorUNC })
	_, first := b.disk.ReadAt(p, 8192)
	b.target.Change(func(c *initiatortest.Config) { c.Faults.ATAError = frame.ErrorABRT })
	_, second := b.disk.WriteAt(p, 0)
	var ae *ATAError
	if !errors.As(first, &ae) || ae.Reg != frame.ErrorUNC || ae.LBA != 16 || !strings.Contains(first.Error(), "uncorrectable") {
		t.Errorf("disk error: %v (an error must outlive its request)", first)
	}
	if !errors.As(second, &ae) || ae.Reg != frame.ErrorABRT {
		t.Errorf("disk error: %v", second)
	}
	if s := b.disk.Stats(); s.Retransmitted != 0 {
		t.Errorf("%d frames sent again", s.Retransmitted)
	}
}

// TestDeadTimeOfADisk: a silent target, as an operator sees it.
func TestDeadTimeOfADisk(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{DeadTime: 1500 * time.Millisecond}})
	if _, err := b.disk.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	b.sw.Cut(ours, theirs)
	if _, err := b.disk.ReadAt(make([]byte, 100), 0); !errors.Is(err, ErrDown) {
		t.Errorf("read: %v", err)
	}
	if _, err := b.disk.WriteAt(make([]byte, 512), 0); !errors.Is(err, ErrDown) {
		t.Errorf("write to a disk that is down: %v", err)
	}
	if s := b.disk.State(); s.Condition != IsDown || !strings.Contains(s.Why, "dead time") || time.Since(s.Since) > 10*time.Second {
		t.Errorf("state: %+v", s)
	}
	b.sw.Heal()
	b.until("the disk is up again", func() bool { return b.disk.State().Condition == Up })
	if _, err := b.disk.ReadAt(make([]byte, 100), 0); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestUnansweredIsATimeout(t *testing.T) {
	if !errors.Is(ErrUnanswered, os.ErrDeadlineExceeded) {
		t.Error("ErrUnanswered is no timeout")
	}
}

// TestH15SwappedDisk: another disk in the place of ours is not written to.
func TestH15SwappedDisk(t *testing.T) {
	b := newBed(t, bedConfig{})
	b.target.Change(func(c *initiatortest.Config) { c.Serial = "another" })
	announce(t, b)
	b.until("the other disk is noticed", func() bool { return b.disk.State().Condition == IsDown })
	if _, err := b.disk.WriteAt(make([]byte, 512), 0); !errors.Is(err, ErrDown) {
		t.Errorf("write: %v", err)
	}
	if b.target.Seen().Writes != 0 {
		t.Error("the other disk was written to")
	}
	if s := b.disk.State(); !strings.Contains(s.Why, "serial") {
		t.Errorf("state: %+v", s)
	}
	b.target.Change(func(c *initiatortest.Config) { c.Serial = "initiatortest" })
	b.until("ours is back", func() bool { return b.disk.State().Condition == Up })
}

// TestH16ResizeWhileOpen: the new size counts at once, and a disk that shrank
// says so.
func TestH16ResizeWhileOpen(t *testing.T) {
	b := newBed(t, bedConfig{})
	resize := func(sectors uint64) {
		b.target.Change(func(c *initiatortest.Config) { c.Sectors = sectors })
		announce(t, b)
		b.until("the new size is known", func() bool { return b.disk.Size() == int64(sectors)*512 })
	}
	resize(4096)
	if _, err := b.disk.WriteAt(make([]byte, 512), 4095*512); err != nil {
		t.Errorf("behind the old end: %v", err)
	}
	if s := b.disk.Stats(); s.Resizes != 1 || s.State.Condition != Up {
		t.Errorf("%d resizes, %+v", s.Resizes, s.State)
	}
	resize(1024)
	if _, err := b.disk.WriteAt(make([]byte, 512), 1024*512); !errors.Is(err, ErrRange) {
		t.Errorf("behind the new end: %v", err)
	}
	if s := b.disk.State(); s.Condition != Degraded || !strings.Contains(s.Why, "smaller") {
		t.Errorf("state: %+v", s)
	}
}

func announce(t *testing.T, b *bed) {
	t.Helper()
	p := b.sw.Port(theirs) // a second socket on the target's interface
	defer p.Close()
	if _, err := p.Send([][]byte{b.target.Announcement()}); err != nil {
		t.Fatal(err)
	}
}

// TestH19LinkFlapOfADisk: writes that are in flight when the port goes down end
// after it has come back.
func TestH19LinkFlapOfADisk(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{DeadTime: -1}})
	b.port.SetUp(false)
	b.until("the port is seen down", func() bool { return b.disk.State().Condition == Degraded })
	written := make(chan error, 1)
	want := pattern(3, 64<<10)
	go func() {
		_, err := b.disk.WriteAt(want, 0)
		written <- err
	}()
	b.until("the write is in flight", func() bool { return b.disk.Stats().Timeouts > 0 })
	b.port.SetUp(true)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	same(t, b.target.Bytes(0, len(want)), want, "written")
	if s := b.disk.Stats(); s.State.Condition != Up || s.Suspensions == 0 {
		t.Errorf("%+v, %d suspensions", s.State, s.Suspensions)
	}
	b.port.SetMTU(1500)
	b.until("that frames do not fit is seen", func() bool { return strings.Contains(b.disk.State().Why, "MTU") })
	want = pattern(4, 64<<10)
	if _, err := b.disk.WriteAt(want, 0); err != nil {
		t.Errorf("write in frames that do not fit, and are sent in parts: %v", err)
	}
	same(t, b.target.Bytes(0, len(want)), want, "written in parts")
	b.port.SetMTU(9000)
	if _, err := b.disk.WriteAt(want, 0); err != nil {
		t.Error(err)
	}
}

// TestLossAndDuplicates: every fault of the network and of the target at once.
func TestLossAndDuplicates(t *testing.T) {
	b := newBed(t, bedConfig{
		sw: linktest.Config{Seed: 9, Faults: linktest.Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.2}},
		target: initiatortest.Config{Sectors: 8192, Faults: initiatortest.Faults{
			DropEvery: 31, DuplicateEvery: 17, IgnoreEvery: 23, BadCount: true,
		}},
		disk: Config{FrameLife: 20 * time.Millisecond},
	})
	want := pattern(4, 4<<20)
	if _, err := b.disk.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	same(t, b.target.Bytes(0, len(want)), want, "written")
	got := make([]byte, len(want))
	if _, err := b.disk.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	same(t, got, want, "read")
	s := b.disk.Stats()
	t.Logf("sent %d, again %d, in vain %d, fences %d, freed at once: %+v", s.Sent, s.Retransmitted, s.Spurious, s.Fences, s.Drops)
	if s.Retransmitted == 0 || s.Drops.Late == 0 {
		t.Error("the faults did not reach the disk")
	}
}
