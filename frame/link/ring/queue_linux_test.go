package ring

import (
	"unsafe"

	"aoe/frame/link"
	"aoe/frame/link/internal/nic"
	"aoe/frame/link/internal/port"

	"golang.org/x/sys/unix"
)

// A queue is a receiver with the socket's own queue in place of the ring, read by
// recvmmsg(2): what the ring is measured against. The rest is the ring's.
type queue struct{ *receiver }

func openQueue(ifname string) (link.Link, error) {
	return port.Open(port.Config{Package: "queue", Interface: ifname, Receive: func(info nic.Info) (port.Receiver, error) {
		r, err := openReceiver(Config{Frames: 1}, info.Index, info.MTU)
		if err != nil {
			return nil, err
		}
		if err := r.unmap(); err != nil {
			return nil, err
		}
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
			return nil, err
		}
		return queue{r}, nil
	}})
}

// Drain takes a system call, unlike what the interface says.
func (q queue) Drain(bufs [][]byte) (d port.Drained) {
	if n, errno := recvmmsg(q.fd, bufs); errno == 0 {
		d.Frames = n
	}
	return d
}

// maxBatch is how many frames one recvmmsg(2) takes here.
const maxBatch = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func recvmmsg(fd int, bufs [][]byte) (int, unix.Errno) {
	var hdrs [maxBatch]mmsghdr
	var iovs [maxBatch]unix.Iovec
	n := min(len(bufs), maxBatch)
	for i := range bufs[:n] {
		iovs[i].Base = unsafe.SliceData(bufs[i])
		iovs[i].SetLen(cap(bufs[i]))
		hdrs[i].hdr.Iov = &iovs[i]
		hdrs[i].hdr.SetIovlen(1)
	}
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range int(got) {
		bufs[i] = bufs[i][:hdrs[i].len]
	}
	return int(got), 0
}
