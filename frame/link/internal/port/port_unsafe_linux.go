package port

import (
	"unsafe"

	"aoe/frame"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2). The compiler pads it as C's does.
type mmsghdr struct {
	hdr unix.Msghdr
	_   uint32 // msg_len: what was sent of it, which is all or nothing
}

// vnetHdr is struct virtio_net_hdr (linux/virtio_net.h), which stands before each
// frame that is sent: see openSender.
type vnetHdr struct {
	flags, gsoType                         uint8
	hdrLen, gsoSize, csumStart, csumOffset uint16
}

// What the kernel is told of a frame, and never changes: where its headers end, or,
// of one that is too short for them, nothing.
var withHeaders, withoutHeaders = vnetHdr{hdrLen: frame.ATADataOffset}, vnetHdr{}

// sendmmsg hands up to maxBatch frames to the socket and returns how many it
// took. The error is that of the frame behind them: "If an error occurs after
// at least one message has been sent, the call succeeds, and returns the number
// of messages sent" (sendmmsg(2)), so an error comes with a count of zero.
func sendmmsg(fd int, frames [][]byte) (int, unix.Errno) {
	var hdrs [maxBatch]mmsghdr
	var iovs [maxBatch][2]unix.Iovec
	n := min(len(frames), maxBatch)
	for i, f := range frames[:n] {
		vnet := &withHeaders
		if len(f) < frame.ATADataOffset {
			vnet = &withoutHeaders
		}
		iov := &iovs[i]
		iov[0].Base = (*byte)(unsafe.Pointer(vnet))
		iov[0].SetLen(int(unsafe.Sizeof(*vnet)))
		iov[1].Base = unsafe.SliceData(f)
		iov[1].SetLen(len(f))
		hdrs[i].hdr.Iov = &iov[0]
		hdrs[i].hdr.SetIovlen(len(iov))
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), 0
}
