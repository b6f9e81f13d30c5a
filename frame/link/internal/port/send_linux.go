package port

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sendBuffer is what SO_SNDBUF is asked for, in bytes: a batch of the largest
// frames, at a cost to the kernel of at most twice their length each, four times
// over. It is a limit and not a reservation.
const sendBuffer = 4 * maxBatch * 2 * 9216

// maxBatch is how many frames one sendmmsg(2) takes. Its headers are on the
// stack: 96 bytes each.
const maxBatch = 64

// Needs adds to a lack of permission what to do about it.
func Needs(err error) error {
	if err == unix.EPERM || err == unix.EACCES {
		return fmt.Errorf("needs CAP_NET_RAW: run as root, or setcap cap_net_raw+ep aoe: %w", err)
	}
	return err
}

// openSender makes a socket that only sends.
func openSender(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", Needs(err))
	}
	// Of a frame longer than a page the kernel puts the headers into the buffer's
	// head and the rest into pages of its own, and unless it is told how long the
	// headers are (PACKET_VNET_HDR), it takes them for Ethernet's alone. Then
	// what is left of AoE's and ATA's goes before the data, and 8 KiB of data
	// take a third page for their last 22 bytes: one more to allocate, to fill and to
	// free, for every frame of a sequential read.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("PACKET_VNET_HDR: %w", err)
	}
	// PACKET_QDISC_BYPASS would hide what is sent from packet captures and
	// from traffic control, for nothing that could be measured: see package ring.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		// Without CAP_NET_ADMIN: as much as net.core.wmem_max gives.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("SO_SNDBUF: %w", err)
		}
	}
	if err := bindSender(fd, index); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindSender binds to the interface with protocol 0, which receives nothing.
func bindSender(fd, index int) error {
	err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	if err != nil && err != unix.ENETDOWN {
		return fmt.Errorf("bind to interface %d: %w", index, Needs(err))
	}
	return nil
}

// Send implements link.Link.
func (l *Link) Send(frames [][]byte) (int, error) {
	l.fdMu.RLock()
	defer l.fdMu.RUnlock()
	if l.closed.Load() {
		return 0, l.errClosed()
	}
	sent, bytes, dropped := 0, 0, 0
	for len(frames) > 0 {
		n, errno := sendmmsg(l.tx, frames)
		for _, f := range frames[:n] {
			bytes += len(f)
		}
		sent += n
		frames = frames[n:]
		if errno == 0 || errno == unix.EINTR {
			continue
		}
		if !isLoss(errno) {
			l.countSent(sent, bytes, dropped)
			return sent, fmt.Errorf("%s: sendmmsg: %w", l.pkg, errno)
		}
		// This frame is lost; the next may be shorter, or find room.
		dropped++
		frames = frames[1:]
	}
	l.countSent(sent, bytes, dropped)
	return sent, nil
}

func (l *Link) countSent(sent, bytes, dropped int) {
	l.counted.sent.Add(uint64(sent))
	l.counted.sentBytes.Add(uint64(bytes))
	if dropped > 0 {
		l.counted.sendDropped.Add(uint64(dropped))
	}
}

// isLoss reports whether the error costs one frame and nothing else (H19).
// EINVAL is what a frame shorter than an Ethernet header gets.
func isLoss(errno unix.Errno) bool {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EMSGSIZE, unix.EINVAL, unix.EIO:
		return true
	}
	return false
}
