package orphan

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Namespace is the number of the calling thread's network namespace, which no
// other gets again before the machine restarts. (The number of the file
// /proc/PID/ns/net is used again.) It fails before Linux 5.14.
func Namespace() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("orphan: %w", err)
	}
	defer unix.Close(fd)
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("orphan: the number of a network namespace: %w", err)
	}
	return n, nil
}

// Within lists the processes in the network namespaces with these numbers, by
// number.
func Within(namespaces []uint64) (map[uint64][]Process, error) {
	numbers := map[string]uint64{} // by name, in this moment; 0: not known
	inside := map[uint64][]Process{}
	_, err := list(func(s state) bool {
		path := fmt.Sprintf("/proc/%d/ns/net", s.PID)
		name, err := os.Readlink(path)
		if err != nil {
			return false // it has ended, or is not ours to look at
		}
		n, known := numbers[name]
		if !known {
			if n, err = numberOf(path); err != nil {
				n = 0
			}
			numbers[name] = n
		}
		if n != 0 && slices.Contains(namespaces, n) {
			inside[n] = append(inside[n], s.Process)
		}
		return false
	})
	return inside, err
}

// numberOf goes into the namespace to see its number, and comes back. A thread
// that cannot come back ends with its goroutine, which keeps it locked; that this
// is not so of the process's first thread, which would stay there for ever, is why
// coming back is tried.
func numberOf(path string) (n uint64, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	done := make(chan struct{})
	go func() { // ends at once
		defer close(done)
		runtime.LockOSThread()
		var home int
		if home, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			runtime.UnlockOSThread()
			return
		}
		defer unix.Close(home)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			n, err = Namespace()
		}
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return n, err
}
