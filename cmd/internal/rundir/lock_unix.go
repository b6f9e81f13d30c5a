//go:build unix && !solaris && !aix

package rundir

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes an exclusive lock that ends when f is closed or the process
// ends. "If a process uses open(2) (or similar) to obtain more than one file
// descriptor for the same file, these file descriptors are treated
// independently by flock()" (flock(2)): it also works within one process.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrAttached
	}
	return err
}
