package engine

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// timesKept is how many of the last transmissions of a frame are kept with
// their time. A reply to an older one is a reply, but no measurement.
const timesKept = 8

// A slotState is what a slot is used for.
type slotState uint8

const (
	slotFree      slotState = iota
	slotFlight              // sent, not answered
	slotLost                // timed out, waits for the window to be sent again
	slotLingering           // finished, but copies of it may be alive (H1)
	slotControl             // of the engine's own control frames
)

// A slot is one command in flight, or what is left of one.
type slot struct {
	state   slotState
	kind    Kind
	command aoe.Command
	class   class
	path    uint8    // that it was sent over last
	index   int32    // of the frame in req
	req     *Request // nil when lingering
	lba     uint64   // range, for the fence
	sectors uint64

	base     uint32 // generation of the first transmission
	count    uint32 // transmissions so far
	answered uint64 // bit per transmission, of the first 64
	sent     [timesKept]time.Duration
	via      [timesKept]uint8 // paths
	first    time.Duration    // time of the first transmission
	deadline time.Duration    // of the next timeout; lingering: when no copy is alive
	backoff  uint8
	fast     uint8 // times that it was sent again before its timer ran out
	fence    uint8 // which list of the fence a lingering slot is in

	// earlier is how many transmissions the slot's life before this one had,
	// until this one begins: answers to them that come late still tell how long
	// they took, while sent, answered and class are those of that life.
	earlier uint32

	prev, next           int32 // list of the slots in the same state
	chainPrev, chainNext int32 // the fence's bucket
}

// lastSent is when the slot's frame was sent last.
func (s *slot) lastSent() time.Duration { return s.sent[(s.count-1)%timesKept] }

// lastUnanswered is when the last copy that was not answered was sent; at least
// one was not.
func (s *slot) lastUnanswered() time.Duration {
	oldest := s.lastSent()
	for i := s.count - 1; i < s.count; i-- { // down to 0
		at, ok := s.sentAt(i)
		if !ok {
			break // it was sent before the oldest that is still known
		}
		oldest = at
		if i >= 64 || s.answered&(1<<i) == 0 {
			return at
		}
	}
	return oldest
}

// heldUpBy is the path over which every copy that was not answered was sent;
// ok is false when there were several, or that is forgotten.
func (s *slot) heldUpBy() (path uint8, ok bool) {
	found := false
	for i := s.count - 1; i < s.count; i-- { // down to 0
		if i < 64 && s.answered&(1<<i) != 0 {
			continue
		}
		if s.count-i > timesKept || found && s.via[i%timesKept] != path {
			return 0, false
		}
		path, found = s.via[i%timesKept], true
	}
	return path, found
}

// sentAt is when transmission i was sent; ok is false when that is forgotten.
func (s *slot) sentAt(i uint32) (t time.Duration, ok bool) {
	return s.sent[i%timesKept], s.count-i <= timesKept
}

// allAnswered reports whether every copy of the frame is accounted for.
func (s *slot) allAnswered() bool {
	return s.count <= 64 && bits.OnesCount64(s.answered) == int(s.count)
}

// A slotList is a list of slots by index; index 0 is none.
type slotList struct{ head, tail int32 }

// A table holds all slots. Slot 0 is never used.
type table struct {
	slots   []slot
	bits    int
	genMask uint32

	// free is a ring: slots are taken in the order in which they were freed.
	free      []int32
	freeHead  int
	freeCount int

	tags []Tags // who is told what is outstanding
}

func newTable(n int, rnd rand.Source, tags []Tags) table {
	t := table{tags: tags, slots: make([]slot, n), free: make([]int32, n), bits: bits.Len(uint(n)) - 1}
	t.genMask = 1<<(31-t.bits) - 1
	for i := range t.slots {
		t.slots[i].base = uint32(rnd.Uint64()) & t.genMask
		if i > 0 {
			t.release(int32(i))
		}
	}
	return t
}

// take takes the slot that has been free for longest, or 0 when none is.
func (t *table) take() int32 {
	if t.freeCount == 0 {
		return 0
	}
	i := t.free[t.freeHead]
	t.freeHead = (t.freeHead + 1) % len(t.free)
	t.freeCount--
	t.slots[i].earlier, t.slots[i].answered = 0, 0
	return i
}

// release makes slot i free. Its generations so far are never live again until
// they have gone around.
func (t *table) release(i int32) {
	s := &t.slots[i]
	*s = slot{base: (s.base + s.count) & t.genMask, earlier: s.count, sent: s.sent, via: s.via, answered: s.answered, class: s.class}
	t.publish(i)
	t.free[(t.freeHead+t.freeCount)%len(t.free)] = i
	t.freeCount++
}

// tag is that of transmission n of slot i.
func (t *table) tag(i int32, n uint32) uint32 {
	return ((t.slots[i].base+n)&t.genMask)<<t.bits | uint32(i)
}

// A lookup says what a tag is.
type lookup uint8

const (
	tagLive    lookup = iota
	tagLate           // was live not long ago
	tagUnknown        // never was, or long ago: forged, or of another initiator
)

// lateGenerations is how far back a tag is taken for a late one and not for a
// foreign one. Only counters depend on it.
const lateGenerations = 64

// find returns the slot and the transmission that a tag names.
func (t *table) find(tag uint32) (i int32, n uint32, what lookup) {
	if tag>>31 != 0 {
		return 0, 0, tagUnknown
	}
	i = int32(tag) & (1<<t.bits - 1)
	if i == 0 {
		return 0, 0, tagUnknown
	}
	s := &t.slots[i]
	gen := tag >> t.bits
	if n = (gen - s.base) & t.genMask; s.state != slotFree && n < s.count {
		return i, n, tagLive
	}
	if (s.base-gen-1)&t.genMask < lateGenerations {
		return i, 0, tagLate
	}
	return 0, 0, tagUnknown
}

func (t *table) push(l *slotList, i int32) { t.insertAfter(l, l.tail, i) }

// insertAfter puts i behind after, which is in l, or first if after is 0.
func (t *table) insertAfter(l *slotList, after, i int32) {
	s := &t.slots[i]
	s.prev = after
	if after == 0 {
		s.next = l.head
		l.head = i
	} else {
		s.next = t.slots[after].next
		t.slots[after].next = i
	}
	if s.next == 0 {
		l.tail = i
	} else {
		t.slots[s.next].prev = i
	}
}

func (t *table) remove(l *slotList, i int32) {
	s := &t.slots[i]
	if s.prev == 0 {
		l.head = s.next
	} else {
		t.slots[s.prev].next = s.next
	}
	if s.next == 0 {
		l.tail = s.prev
	} else {
		t.slots[s.next].prev = s.prev
	}
	s.prev, s.next = 0, 0
}

// stamp records one more transmission of slot i, over a path, and writes its tag
// and addresses into the frame, before it is sent.
func (t *table) stamp(now time.Duration, i int32, b []byte, p *path) {
	s := &t.slots[i]
	frame.PutEthernet(b, p.destination(), p.local)
	frame.PutTag(b, t.tag(i, s.count))
	if s.count == 0 {
		s.first = now
	}
	s.sent[s.count%timesKept], s.via[s.count%timesKept] = now, p.index
	s.path = p.index
	s.count++
	t.publish(i)
}
