package ring

import (
	"time"

	"aoe/frame"

	"golang.org/x/net/bpf"
)

// A Config says which interface to open, and how. Only Interface is needed.
type Config struct {
	// Interface is the name of the interface, "eth0", in the network namespace
	// of the calling thread.
	Interface string

	// Frames is how many slots the receive ring has at least. Zero and less
	// mean DefaultFrames. A ring of more than 1 GiB is refused.
	Frames int

	// MinMTU makes the slots large enough for this MTU in bytes even if the
	// interface's is smaller now, so that raising it later loses no frame.
	// Zero means the interface's MTU at the time.
	MinMTU int

	// Filter is a classic filter to be attached before the socket is bound.
	// Nil means DefaultFilter.
	Filter []bpf.RawInstruction

	// FilterFD is the descriptor of a loaded eBPF socket filter program, used
	// instead of Filter if it is positive. It is borrowed for Open and for
	// every time that the ring is made anew: keep it open until Close.
	FilterFD int

	// Poll is how long a Recv that finds nothing goes on looking before it sleeps,
	// which takes the processor from nobody who wants it and pays off where the
	// other side answers within that time: no thread has to be woken then, and a
	// request by itself is several times as fast. Where nothing came the next
	// Recvs sleep at once, more of them each time. Zero and less mean that all do.
	Poll time.Duration
}

// DefaultFrames is how many slots a ring has: twice the frames that the largest
// window in use here (64 requests of 4 KiB at MTU 9000, one frame each) can
// have in flight, once as answers and once as duplicates of them.
const DefaultFrames = 2 * 2 * 64

// snapAll is a filter's verdict for "the whole frame".
const snapAll = 0x40000

// packetOtherHost is PACKET_OTHERHOST of packet(7): "a packet to some other host
// that has been caught by a device driver in promiscuous mode", or by one that
// does not look at addresses, as veth does not.
const packetOtherHost = 3

// DefaultFilter passes frames with AoE's EtherType that are for this host, and
// no others.
func DefaultFilter() []bpf.RawInstruction {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(frame.EtherType), SkipFalse: 2},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetOtherHost, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: snapAll},
	})
	if err != nil {
		panic("ring: the default filter does not assemble: " + err.Error())
	}
	return program
}
