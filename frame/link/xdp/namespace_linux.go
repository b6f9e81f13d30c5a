package xdp

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// A namespace is the network namespace that a link was opened in. Sockets belong to
// the one that the thread is in which makes them, and Recv may be called anywhere.
type namespace struct {
	fd int
	id uint64
}

const ownNamespace = "/proc/thread-self/ns/net"

// openNamespace keeps that of the calling thread.
func openNamespace() (namespace, error) {
	fd, err := unix.Open(ownNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return namespace{fd: -1}, fmt.Errorf("%s: %w", ownNamespace, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return namespace{fd: -1}, fmt.Errorf("%s: %w", ownNamespace, err)
	}
	return namespace{fd: fd, id: stat.Ino}, nil
}

// do calls f on a thread that is in the namespace.
func (n namespace) do(f func() error) error {
	runtime.LockOSThread()
	var stat unix.Stat_t
	err := unix.Stat(ownNamespace, &stat)
	if err == nil && stat.Ino == n.id {
		defer runtime.UnlockOSThread()
		return f()
	}
	runtime.UnlockOSThread()
	done := make(chan error)
	go func() { // ends with f, and its thread with it
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("going back to the link's network namespace: needs CAP_SYS_ADMIN: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

func (n *namespace) close() error {
	if n.fd < 0 {
		return nil
	}
	fd := n.fd
	n.fd = -1
	return unix.Close(fd)
}
