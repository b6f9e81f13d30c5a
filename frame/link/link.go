// Package link is a port on an Ethernet segment: one interface, through which
// whole frames are sent and received in batches.
//
// # Implementations
//
//   - raw, on github.com/mdlayher/raw: every platform that library supports, one
//     frame per system call. The portable one, and the one others are compared with.
//   - ring, Linux only: an AF_PACKET receive ring that is mapped, cannot be
//     swapped and gives frames back one by one, and batched sends.
//   - xdp, Linux only: AF_XDP sockets, which get frames before the kernel has
//     allocated anything for them, and batched sends.
//   - linktest: an Ethernet switch in memory, seeded, that loses, duplicates,
//     delays and reorders, and a wrapper that does the same to a real Link.
//
// Package open chooses between them, echo measures what a link can do,
// and veth makes hosts to try it between. One conformance suite
// (linktest.Conform) runs on all of them.
//
// # Ownership and concurrency
//
// The caller owns all buffers. Recv fills buffers that the caller lends for the
// call; Send borrows frames for the call. A Link retains neither. One goroutine
// calls Recv; Send, Wake, Stats, MTU and MAC may be called by any number of
// goroutines at the same time; Close at any time, and more than once.
//
// # Loss
//
// Ethernet may lose any frame, so a condition that costs frames is not an error:
// when the interface is down, the queue full or a frame too long, it is counted
// in Stats and the Link goes on (H19). An error from Recv or Send means that
// the Link is of no more use.
package link

import (
	"time"

	"aoe/frame"
)

// A Link is one port on an Ethernet segment.
type Link interface {
	// Recv waits until at least one frame has arrived, then moves as many as
	// there are and bufs has room for into bufs, in order of arrival, and
	// returns how many. Each buffer is filled up to its capacity's bound and
	// resliced to the frame's length: bufs[i] = bufs[i][:n], starting at the
	// first byte of the Ethernet header. A frame longer than cap(bufs[i]) is
	// dropped and counted in Stats.Truncated.
	//
	// Recv returns 0 and nil after timeout, after Wake, and when the state of
	// the port has changed (see State). A negative timeout waits for ever,
	// zero does not wait. Frames sent by this host through the same interface
	// are not received.
	//
	// After Close it returns an error wrapping net.ErrClosed.
	Recv(bufs [][]byte, timeout time.Duration) (int, error)

	// Send sends whole frames, Ethernet header included, and returns how many
	// were handed to the interface. It never blocks: frames that cannot be
	// sent now are lost and counted in Stats.SendDropped, and what comes
	// behind them is still tried. Frames shorter than frame.MinLen are the
	// caller's business: see frame.Pad.
	//
	// After Close it returns an error wrapping net.ErrClosed.
	Send(frames [][]byte) (int, error)

	// Wake makes a Recv that is waiting, or the next one, return early.
	// Several calls before that Recv count as one. It does not allocate.
	Wake()

	// State is the port's state as of now, without a system call. Recv notices
	// changes: callers compare Generation.
	State() State

	// Stats are the counters since the Link was opened.
	Stats() Stats

	// Close ends a waiting Recv and releases the port.
	Close() error
}

// A Watcher is a Link that can wait for something else too, so that who receives
// needs no second thread for it.
type Watcher interface {
	// Watch makes a Recv that waits return early when fd becomes readable, or is
	// hung up, which is told once each time. It ends when fd is closed. Any
	// goroutine may call it.
	Watch(fd int) error

	// Heard reports whether there was something of a watched descriptor since
	// the last call. It belongs to who calls Recv; a Recv that did not have to
	// wait has not looked.
	Heard() bool
}

// A State is what a port is at a moment.
type State struct {
	Name       string    // of the interface, "eth0"
	MAC        frame.MAC // of the interface
	MTU        int       // bytes of payload behind the Ethernet header
	Up         bool      // administratively up and carrier present
	Generation uint32    // grows with every change of another field
}

// Stats counts frames, except where it says bytes.
type Stats struct {
	Received      uint64 `json:"received"`
	ReceivedBytes uint64 `json:"receivedBytes"`
	Sent          uint64 `json:"sent"`
	SentBytes     uint64 `json:"sentBytes"`

	// Truncated frames were longer than the buffer, or than the ring's slots.
	Truncated uint64 `json:"truncated"`
	// KernelDropped frames passed the filter but found no room in the ring or
	// the socket (PACKET_STATISTICS in packet(7)).
	KernelDropped uint64 `json:"kernelDropped"`
	// Foreign frames belonged to another network: their VLAN tag had been taken
	// off by the hardware. Where the kernel lets a filter see that, the filter
	// drops them, and they are not counted.
	Foreign uint64 `json:"foreign"`
	// SendDropped frames were refused by the interface: ENOBUFS, EAGAIN,
	// ENETDOWN, EMSGSIZE and their like.
	SendDropped uint64 `json:"sendDropped"`
	// Flaps counts how often the port went down.
	Flaps uint64 `json:"flaps"`
}
