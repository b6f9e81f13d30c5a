package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Clients run on the first processor and targets on the others. Left to
// itself, the scheduler sometimes puts both on one and sometimes not, which at
// depth 1 is worth a factor of two, and is not what is compared here.

// pinned is set in the environment of the process that runs on the first
// processor.
const pinned = "AOE_SPEED_PINNED"

// pinClients executes this program anew on the first processor: a thread's
// processors are inherited by those it makes, and the runtime has made some
// already. On a machine with one processor there is nothing to do.
func pinClients() error {
	if os.Getenv(pinned) != "" || runtime.NumCPU() == 1 {
		return nil
	}
	all, err := processors()
	if err != nil {
		return err
	}
	first := unix.CPUSet{}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			first.Set(cpu)
			break
		}
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return fmt.Errorf("exec: %w", syscall.Exec(self, os.Args, append(os.Environ(), pinned+"=1")))
}

// onTargetProcessors runs f on a thread that is allowed on the processors which
// the clients do not use; a process that f starts inherits that.
func onTargetProcessors(f func() error) (err error) {
	if os.Getenv(pinned) == "" {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	clients, err := processors()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &clients)) }()
	// The kernel leaves out the processors that there are not.
	others := unix.CPUSet{}
	for cpu := range len(others) * 64 {
		if !clients.IsSet(cpu) {
			others.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &others); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	return f()
}

// processors are those that this thread may run on.
func processors() (set unix.CPUSet, err error) {
	if err = unix.SchedGetaffinity(0, &set); err != nil {
		err = fmt.Errorf("sched_getaffinity: %w", err)
	}
	return set, err
}
