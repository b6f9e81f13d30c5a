package reserve

import "fmt"

// An Origin is where a buffer's memory comes from.
type Origin uint8

// The two origins.
const (
	FromNormal  Origin = iota // a slab of the growable, budgeted arena
	FromReserve               // the arena that was mapped at start and stays
)

// String is "normal" or "reserve".
func (o Origin) String() string {
	if o == FromReserve {
		return "reserve"
	}
	return "normal"
}

// A state is what a buffer is doing. Every buffer is in exactly one.
type state uint8

const (
	unmapped state = iota // no memory behind it: its slab is not mapped
	free                  // on the free list of its origin
	granted               // in a Grant
	stocked               // in a Stock
)

var stateNames = [...]string{"unmapped", "free", "granted", "stocked"}

// A Buffer is room for one frame. Its header is made at New, for the whole
// budget, and never moves; its memory is off the Go heap.
type Buffer struct {
	// Data is the whole buffer, BufferSize bytes, whatever was received into
	// it. It may hold what its last user left there.
	Data []byte

	index  int32 // of the header in Reserve.buffers
	slab   int32 // of its slab, or -1 for the reserve
	origin Origin
	state  state
	next   *Buffer // on a free list
}

// Origin is where the buffer's memory comes from. It never changes.
func (b *Buffer) Origin() Origin { return b.origin }

// move takes the buffer from one state to another, and panics when it is not in
// the first: memory that two believe to own is worse than a stopped program.
func (b *Buffer) move(from, to state) {
	if b.state != from {
		panic(b.misuse(from, to))
	}
	b.state = to
}

func (b *Buffer) misuse(from, to state) string {
	if to == free {
		return fmt.Sprintf("reserve: double free of buffer %d: it is %s", b.index, stateNames[b.state])
	}
	return fmt.Sprintf("reserve: buffer %d is %s, not %s", b.index, stateNames[b.state], stateNames[from])
}

// A freeList is a stack: the buffer that was used last is the warmest.
type freeList struct {
	top *Buffer
	n   int
}

func (l *freeList) push(b *Buffer) {
	b.next = l.top
	l.top = b
	l.n++
}

func (l *freeList) pop() *Buffer {
	b := l.top
	l.top = b.next
	b.next = nil
	l.n--
	return b
}
