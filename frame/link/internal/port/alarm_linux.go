package port

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm ends a wait: a timerfd(2) that is left alone as long as it rings
// early enough. The deadlines of a sleeper who is woken by frames keep moving
// away; a timeout given to the wait would program the processor's timer,
// and take that back, for each of them, which costs more than the rest of the
// system call.
type alarm struct {
	fd    int
	start time.Time
	rings time.Duration // after start; 0: it does not
}

func openAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return alarm{fd: -1}, fmt.Errorf("timerfd: %w", err)
	}
	return alarm{fd: fd, start: time.Now()}, nil
}

// now is the alarm's clock.
func (a *alarm) now() time.Duration { return time.Since(a.start) }

// set makes the alarm ring at the given time or before.
func (a *alarm) set(at time.Duration) error {
	if a.rings != 0 && a.rings <= at {
		return nil
	}
	// Zero would disarm it.
	in := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(at-a.now(), 1)))}
	if err := unix.TimerfdSettime(a.fd, 0, &in, nil); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	a.rings = at
	return nil
}

// rang makes the alarm quiet.
func (a *alarm) rang() {
	var count [8]byte
	_, _ = unix.Read(a.fd, count[:]) // EAGAIN: it was set anew in between
	a.rings = 0
}

func (a *alarm) close() error {
	if a.fd < 0 {
		return nil
	}
	err := unix.Close(a.fd)
	a.fd = -1
	return err
}
