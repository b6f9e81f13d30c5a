package model

// Credited is a reserve with a cap: a frame is given memory as long as the
// interface has credit, and credit is given back some time later.
type Credited struct {
	Frames int // for which there really is memory
	Cap    int // credit of the interface

	// PerDevice gives the credit back when a frame leaves the device's hands,
	// which may be before its memory is free. Otherwise the credit belongs to
	// the frame, and comes back with its memory.
	PerDevice bool
}

const creditUsed = int(kinds) // the cell that counts it

// Init is empty.
func (Credited) Init() (c [cells]uint8) { return c }

// Add needs credit and memory.
func (c Credited) Add(s State, k Kind) []Choice {
	if int(s.Store[creditUsed]) >= c.Cap || int(total(c, s)) >= c.Frames {
		return nil
	}
	s.Store[k]++
	s.Store[creditUsed]++
	return []Choice{{s, 1}}
}

// Move gives the credit back, early or late.
func (c Credited) Move(s State, from, to Kind) []State {
	s.Store[from]--
	if to != gone {
		s.Store[to]++
	}
	early := from == Reply || from == Foreign // now it is in somebody's socket
	if c.PerDevice && early || !c.PerDevice && to == gone {
		s.Store[creditUsed]--
	}
	return []State{s}
}

// Held is in the cell of that kind.
func (c Credited) Held(s State, k Kind) uint8 { return s.Store[k] }

// Estimates of how many pages so many frames of a size take up, by the sizing
// that was posted in 2005 and by the one that replaced it.
const (
	pageBytes  = 4096
	bookBytes  = 256 // behind the data of a frame: about what the kernel keeps there
	slipOfInts = 4   // bytes a frame, whatever its size
)

// EstimateAsPosted counts 4 bytes a frame.
func EstimateAsPosted(frames int) int { return (frames*slipOfInts + pageBytes - 1) / pageBytes }

// EstimateFixed counts each frame with its bookkeeping, rounded up to the power
// of two that the allocator hands out.
func EstimateFixed(frames, size int) int {
	return (frames*allocated(size) + pageBytes - 1) / pageBytes
}

// FramesIn is how many frames of a size really fit into so many pages.
func FramesIn(pages, size int) int { return pages * pageBytes / allocated(size) }

func allocated(size int) int {
	n := 1
	for n < size+bookBytes {
		n *= 2
	}
	return n
}
