package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Clients run on the first processor and targets on the others. Left to
// itself, the scheduler sometimes puts both on one and sometimes not, which at
// depth 1 is worth a factor of two, and is not what is compared here.

// Set in the environment of the process that measures.
const (
	inside = "AOE_SPEED_PROCESSORS" // to how many there are
	pinned = "AOE_SPEED_PINNED"     // if clients have the first, and there is another
)

// enter executes this program anew, on the first processor if it is to be pinned,
// and among mounts of its own: what a thread is allowed is inherited by those it
// makes, and the runtime has made some already. Mounts of its own go away with
// the last process, however it ends.
func enter(pin bool) error {
	if os.Getenv(inside) != "" {
		return nil
	}
	all, err := processors()
	if err != nil {
		return err
	}
	count := strconv.Itoa(all.Count())
	env := append(os.Environ(), inside+"="+count)
	runtime.LockOSThread()
	if pin && all.Count() > 1 {
		env = append(env, pinned+"=yes")
		// Go programs count the processors that they are allowed on when they start,
		// and with one, the runtime's monitor takes the right to run from every
		// system call of more than 20 us, as sending a batch is, to nobody's good. They
		// are to be as they are on this machine when nobody binds them.
		if os.Getenv("GOMAXPROCS") == "" {
			env = append(env, "GOMAXPROCS="+count)
		}
		if err := unix.SchedSetaffinity(0, first(&all)); err != nil {
			return fmt.Errorf("sched_setaffinity: %w", err)
		}
	}
	if err := ownMounts(); err != nil {
		return fmt.Errorf("mounts of one's own: %w: run this as root", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return fmt.Errorf("exec: %w", syscall.Exec(self, os.Args, env))
}

// first is the first processor of all.
func first(all *unix.CPUSet) *unix.CPUSet {
	one := &unix.CPUSet{}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return one
}

// ownMounts takes this thread to a mount namespace that starts as a copy.
func ownMounts() error {
	// "CLONE_NEWNS ... automatically implies CLONE_FS" (unshare(2)): of this
	// thread, which will be the process.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	// Or else what is mounted here is mounted everywhere (mount_namespaces(7)).
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// whereWhat says who runs where.
func whereWhat() string {
	if os.Getenv(pinned) == "" {
		return "anything on any of " + os.Getenv(inside) + " processors"
	}
	return "clients on one of " + os.Getenv(inside) + " processors"
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
