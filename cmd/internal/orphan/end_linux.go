package orphan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// End asks the processes to end, kills those that have not after grace, and
// returns those that are still there when ctx ends: such as wait in the kernel
// for a device. Those that ended meanwhile are no error.
func End(ctx context.Context, all []Process, grace time.Duration) (left []Process, err error) {
	var errs []error
	var held []handle
	for _, p := range all {
		h, err := hold(p)
		switch {
		case errors.Is(err, unix.ESRCH):
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("orphan: process %s: %w", p, err))
			continue
		}
		defer unix.Close(h.fd)
		held = append(held, h)
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, step := range []struct {
		signal unix.Signal
		ctx    context.Context
	}{{unix.SIGTERM, patience}, {unix.SIGKILL, ctx}} {
		for _, h := range held {
			if err := unix.PidfdSendSignal(h.fd, step.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("orphan: process %s: %w", h.Process, err))
			}
		}
		if held, err = wait(step.ctx, held); err != nil {
			errs = append(errs, err)
			break
		}
	}
	for _, h := range held {
		left = append(left, h.Process)
	}
	return left, errors.Join(errs...)
}

// A handle is a process and a descriptor of it.
type handle struct {
	Process
	fd int
}

// hold gets a descriptor of p, or ESRCH when it has ended. What has its number
// after the descriptor was opened is what the descriptor is of.
func hold(p Process) (handle, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return handle{}, err
	}
	if s, err := look(p.PID); err != nil || s.Start != p.Start {
		unix.Close(fd)
		return handle{}, unix.ESRCH
	}
	return handle{p, fd}, nil
}

// waitTick is how often wait looks whether ctx has ended.
const waitTick = 50 * time.Millisecond

// wait returns when all have ended or ctx has, and who has not: "a PID file
// descriptor can be monitored using poll(2): when the process that it refers to
// terminates, it becomes readable" (pidfd_open(2)).
func wait(ctx context.Context, held []handle) ([]handle, error) {
	for len(held) > 0 {
		fds := make([]unix.PollFd, len(held))
		for i, h := range held {
			fds[i] = unix.PollFd{Fd: int32(h.fd), Events: unix.POLLIN}
		}
		if _, err := unix.Poll(fds, int(waitTick.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return held, fmt.Errorf("orphan: poll: %w", err)
		}
		var still []handle
		for i, h := range held {
			if fds[i].Revents == 0 {
				still = append(still, h)
			}
		}
		held = still
		if ctx.Err() != nil {
			break
		}
	}
	return held, nil
}
