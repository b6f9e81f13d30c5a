package port

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAlarmIsNotMovedBack: a deadline that lies behind the one that is set costs
// no system call, and one before it is kept.
func TestAlarmIsNotMovedBack(t *testing.T) {
	a, err := openAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, row := range []struct{ at, want time.Duration }{
		{10 * time.Hour, 10 * time.Hour},
		{11 * time.Hour, 10 * time.Hour},
		{9 * time.Hour, 9 * time.Hour},
	} {
		if err := a.set(row.at); err != nil {
			t.Fatal(err)
		}
		if a.rings != row.want {
			t.Errorf("set to %v it rings at %v, want %v", row.at, a.rings, row.want)
		}
		if left := a.left(t); left > row.want || left < row.want-time.Hour/2 {
			t.Errorf("the kernel's timer has %v left, want about %v", left, row.want)
		}
	}
}

// TestAlarmRingsForThePast, at once, and once.
func TestAlarmRingsForThePast(t *testing.T) {
	a, err := openAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := a.set(a.now() - time.Second); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); n != 1 || err != nil {
		t.Fatalf("it did not ring: %d, %v", n, err)
	}
	a.rang()
	if n, err := unix.Poll(fds, 0); n != 0 || err != nil {
		t.Fatalf("it still rings: %d, %v", n, err)
	}
	if a.rings != 0 {
		t.Errorf("it is taken to ring at %v", a.rings)
	}
}

func (a *alarm) left(t *testing.T) time.Duration {
	t.Helper()
	var spec unix.ItimerSpec
	if err := unix.TimerfdGettime(a.fd, &spec); err != nil {
		t.Fatal(err)
	}
	return time.Duration(spec.Value.Nano())
}
