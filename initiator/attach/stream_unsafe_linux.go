package attach

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// vectored is readv(2) or writev(2). unix.Readv and unix.Writev allocate their
// vectors; this takes one that is made once.
func vectored(call, fd uintptr, iov []unix.Iovec) (int, unix.Errno) {
	if len(iov) == 0 {
		return 0, 0
	}
	for {
		n, _, errno := unix.Syscall(call, fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
