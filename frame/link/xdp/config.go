package xdp

import (
	"errors"
	"os"
	"time"

	"aoe/frame"
)

// A Config says which interface to open, and how. Only Interface is needed.
type Config struct {
	// Interface is the name of the interface, "eth0", in the network namespace
	// of the calling thread.
	Interface string

	// Frames is how many frames of the interface's MTU each queue has room for.
	// Zero and less mean DefaultFrames.
	Frames int

	// Steer makes somebody's XDP program steer frames into the link's sockets.
	// Nil means that the link attaches a program of its own.
	Steer Steerer

	// Poll is how long a Recv that finds nothing goes on looking before it sleeps:
	// see [aoe/frame/link/ring.Config].
	Poll time.Duration

	// Single does without frames in several chunks, as if the kernel could not
	// do that: for tests.
	Single bool
}

// A Steerer lets an XDP program find the sockets.
type Steerer interface {
	// Steer is called for the socket of each queue when the link is opened, and
	// again when it has new ones because the interface was made anew. A socket
	// that is closed is forgotten by the kernel.
	Steer(queue uint32, socket int) error
}

// DefaultFrames is how many frames a queue has room for: as many as a ring.
const DefaultFrames = 2 * 2 * 64

// MaxQueues is the most queues that an interface may have: each costs memory.
const MaxQueues = 16

// ErrInUse is wrapped by errors about a queue from which another AF_XDP socket
// receives already, or an interface that has another XDP program.
var ErrInUse = errors.New("another program receives there by XDP: `bpftool net` shows it")

// Sizes in bytes.
const (
	// chunkHeadroom is what the kernel leaves free before a frame:
	// XDP_PACKET_HEADROOM of linux/bpf.h.
	chunkHeadroom = 256
	// leastChunk is XDP_UMEM_MIN_CHUNK_SIZE. "Chunk size must be a power of 2",
	// and not larger than a page.
	leastChunk = 2048
	// maxBytes is the largest memory of a queue.
	maxBytes = 256 << 20
)

// A shape is how a queue's memory is divided.
type shape struct {
	chunk  int // bytes, a power of two
	chunks int
}

// shapeFor is the shape with room for that many frames of the MTU.
func shapeFor(mtu, frames int) shape {
	if frames <= 0 {
		frames = DefaultFrames
	}
	s := shape{chunk: leastChunk}
	if s.perFrame(mtu) > 1 && os.Getpagesize() >= 2*leastChunk {
		s.chunk = 2 * leastChunk
	}
	s.chunks = frames * s.perFrame(mtu)
	return s
}

// room is what of a chunk a frame can have.
func (s shape) room() int { return s.chunk - chunkHeadroom }

// perFrame is how many chunks a frame of the MTU takes.
func (s shape) perFrame(mtu int) int {
	return (frame.EthernetLen + mtu + s.room() - 1) / s.room()
}

// mtu is the largest whose frames fit a chunk.
func (s shape) mtu() int { return s.room() - frame.EthernetLen }

func (s shape) bytes() int { return s.chunk * s.chunks }

// entries is the size of the rings: the kernel wants a power of two.
func (s shape) entries() int {
	n := 1
	for n < s.chunks {
		n *= 2
	}
	return n
}

// Memory is what each queue with room for that many frames of the MTU costs:
// chunks of chunkBytes each, and bytes in all with its rings. It is memory of this
// process that the kernel has pinned, as long as the link is open. Zero frames
// mean DefaultFrames.
func Memory(mtu, frames int) (chunks, chunkBytes, bytes int) {
	s := shapeFor(mtu, frames)
	const descriptor, address = 16, 8 // struct xdp_desc, __u64
	return s.chunks, s.chunk, s.bytes() + s.entries()*(descriptor+address)
}
