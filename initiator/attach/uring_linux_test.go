package attach

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func ringForTest(t *testing.T, entries int) *uring {
	t.Helper()
	r, err := newUring(entries, false)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("%v: allow io_uring (sysctl kernel.io_uring_disabled=0, seccomp)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// TestUringReadsAnEventfd: submissions go in, wait until something happens, and
// come out with what they were given; the rings go around more than once.
func TestUringReadsAnEventfd(t *testing.T) {
	r := ringForTest(t, 4)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var count [8]byte
	for i := range 40 {
		r.read(r.submission(), fd, &count[0], len(count), uint64(i))
		if err := r.enter(0); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := r.completion(); ok {
			t.Fatal("a read of an eventfd that nobody wrote to has ended")
		}
		if _, err := unix.Write(fd, []byte{byte(i + 1), 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if err := r.enter(1); err != nil {
			t.Fatal(err)
		}
		data, result, ok := r.completion()
		if !ok || data != uint64(i) || result != 8 || count[0] != byte(i+1) {
			t.Fatalf("%d: completion %d, result %d, %v, read %v", i, data, result, ok, count)
		}
	}
}

// TestUringIsBounded: there is no submission when all places are taken, and
// there is again when they were submitted.
func TestUringIsBounded(t *testing.T) {
	r := ringForTest(t, 2)
	fd, err := unix.Eventfd(4, unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var to [16]byte
	for round := range 2 {
		for i := range 2 {
			r.read(r.submission(), fd, &to[8*i], 8, uint64(i))
		}
		if r.submission() != nil {
			t.Fatalf("round %d: a third submission in a ring of two", round)
		}
		if err := r.enter(2); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, result, ok := r.completion(); !ok || result != 8 {
				t.Fatalf("round %d: result %d, %v", round, result, ok)
			}
		}
	}
}
