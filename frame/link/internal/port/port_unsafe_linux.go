package port

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2). The compiler pads it as C's does.
type mmsghdr struct {
	hdr unix.Msghdr
	_   uint32 // msg_len: what was sent of it, which is all or nothing
}

// sendmmsg hands up to maxBatch frames to the socket and returns how many it
// took. The error is that of the frame behind them: "If an error occurs after
// at least one message has been sent, the call succeeds, and returns the number
// of messages sent" (sendmmsg(2)), so an error comes with a count of zero.
func sendmmsg(fd int, frames [][]byte) (int, unix.Errno) {
	var hdrs [maxBatch]mmsghdr
	var iovs [maxBatch]unix.Iovec
	n := min(len(frames), maxBatch)
	for i, f := range frames[:n] {
		iovs[i].Base = unsafe.SliceData(f)
		iovs[i].SetLen(len(f))
		hdrs[i].hdr.Iov = &iovs[i]
		hdrs[i].hdr.SetIovlen(1)
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), 0
}
