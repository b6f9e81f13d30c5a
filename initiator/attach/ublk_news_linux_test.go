package attach

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// newNews is a descriptor as that of a ring, and what a driver says with it.
func newNews() (fd int, tell func()) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		panic(err)
	}
	f := os.NewFile(uintptr(fd), "eventfd") // closed when nobody has it any more
	one := [8]byte{1}
	return fd, func() {
		if _, err := unix.Write(fd, one[:]); err != nil {
			panic(err)
		}
		runtime.KeepAlive(f)
	}
}
