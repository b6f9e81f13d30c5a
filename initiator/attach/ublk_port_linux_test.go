package attach

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// charForTest is a character device's port over a file in memory, which like
// the device has the data of each tag at a place of its own.
func charForTest(t *testing.T) *ublkChar {
	t.Helper()
	fd, err := unix.MemfdCreate("ublkc", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	woken, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	told, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	c := &ublkChar{fd: fd, depth: 4, woken: woken, told: told, iov: make([]unix.Iovec, 0, maxIovec)}
	c.one[0], c.one[7] = 1, 1 // either end counts
	t.Cleanup(c.close)
	return c
}

// TestUblkDataIsCopiedToItsTag: what is given to one tag is taken from it, from
// the middle too, in more pieces than one call takes, and from no other.
func TestUblkDataIsCopiedToItsTag(t *testing.T) {
	c := charForTest(t)
	scatter := func(b []byte, piece int) (segs [][]byte) {
		for ; len(b) > piece; b = b[piece:] {
			segs = append(segs, b[:piece])
		}
		return append(segs, b)
	}
	data := make([]byte, 700<<10)
	for i := range data {
		data[i] = byte(i*7) ^ byte(i>>8)
	}
	for tag := range 3 {
		if err := c.give(tag, 0, scatter(data, 512+tag)); err != nil { // 1400 pieces of 512
			t.Fatal(err)
		}
	}
	got := make([]byte, len(data)-4096)
	if err := c.take(1, 4096, scatter(got, 8192)); err != nil || !bytes.Equal(got, data[4096:]) {
		t.Errorf("take: %v, equal %v", err, bytes.Equal(got, data[4096:]))
	}
	if err := c.take(3, 0, [][]byte{got}); err == nil {
		t.Error("took data from a tag that has none")
	}
}

// TestUblkCopiesAllocateNothing: they are on the data path.
func TestUblkCopiesAllocateNothing(t *testing.T) {
	c := charForTest(t)
	segs := make([][]byte, 16)
	for i := range segs {
		segs[i] = make([]byte, 8192)
	}
	if n := testing.AllocsPerRun(100, func() {
		if c.give(2, 0, segs) != nil || c.take(2, 0, segs) != nil {
			t.Error("copy failed")
		}
	}); n != 0 {
		t.Errorf("%v allocations for two copies", n)
	}
}

// TestUblkPortIsWoken: from a wait that is under way, and from the next one; a
// wait that does not block returns at once.
func TestUblkPortIsWoken(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := charForTest(t)
	if err := c.open(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("%v: allow io_uring (sysctl kernel.io_uring_disabled=0, seccomp)", err)
	} else if err != nil {
		t.Fatal(err)
	}
	// The kernel lets no other thread use the ring.
	for range 50 {
		if events, err := c.wait(nil, false); err != nil || len(events) != 0 {
			t.Fatalf("%v, %v", events, err)
		}
		woke := time.AfterFunc(100*time.Microsecond, c.wake)
		if events, err := c.wait(nil, true); err != nil || len(events) != 0 {
			t.Fatalf("%v, %v", events, err)
		}
		woke.Stop()
	}
	c.wake()
	if _, err := c.wait(nil, true); err != nil {
		t.Fatal(err)
	}
}
