package harden

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pressureTrigger asks for an event when some task has waited for memory for
// 300 ms of 2 s. The window is one that processes without CAP_SYS_RESOURCE may
// ask for, since Linux 6.5: "the unprivileged user may only use windows that
// are multiples of 2s" (Documentation/accounting/psi.rst).
const pressureTrigger = "some 300000 2000000"

const pressureFile = "/proc/pressure/memory"

// A psi is a trigger of pressure stall information.
type psi struct{ fd, wake int }

func memoryTrigger() (trigger, error) {
	fd, err := unix.Open(pressureFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("harden: %s: %w: needs Linux 4.20 with CONFIG_PSI, and psi=1 on the command line where it is off by default", pressureFile, err)
	}
	// "a NUL-terminated string", as the kernel overwrites the last byte.
	if _, err := unix.Write(fd, append([]byte(pressureTrigger), 0)); err != nil {
		return nil, errors.Join(fmt.Errorf("harden: %s: %q: %w: needs CAP_SYS_RESOURCE before Linux 6.5", pressureFile, pressureTrigger, err), unix.Close(fd))
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("harden: eventfd: %w", err), unix.Close(fd))
	}
	return &psi{fd, wake}, nil
}

func (p *psi) wait(timeout time.Duration) (bool, error) {
	ms := -1
	if timeout >= 0 {
		ms = int(timeout.Milliseconds())
	}
	fds := [2]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLPRI}, {Fd: int32(p.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds[:], ms)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, fmt.Errorf("harden: poll %s: %w", pressureFile, err)
		case fds[1].Revents != 0:
			return false, errStopped
		case fds[0].Revents&unix.POLLERR != 0:
			return false, fmt.Errorf("harden: %s: the kernel took the trigger away", pressureFile)
		}
		return fds[0].Revents&unix.POLLPRI != 0, nil
	}
}

func (p *psi) stop() error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := unix.Write(p.wake, one[:])
	return err
}

func (p *psi) close() error { return errors.Join(unix.Close(p.fd), unix.Close(p.wake)) }
