package reserve

import (
	"fmt"
	"sync/atomic"
)

// A Stock is the buffers that frames are received into before anybody knows
// what they are. It belongs to one goroutine, the one that receives; only
// Frames may take the lock, and only after the regime has changed or while the
// stock is smaller than it wants to be.
//
// A received frame lives for one dispatch turn (I5): before the next Frames it
// is either exchanged, because it answers somebody's request, or dropped. Both
// leave a buffer in its slot, so a stock never shrinks by receiving.
type Stock struct {
	r          *Reserve
	want       int
	guaranteed int
	slots      []slot   // capacity want, length as the regime has it
	frames     [][]byte // the same, as lent to the link
	classified int      // slots exchanged or dropped in this turn
	version    uint32   // of the reserve, as last seen
	attend     bool     // a buffer of the reserve came in by exchange in normal

	exchanges  atomic.Uint64
	freed      atomic.Uint64
	mismatches atomic.Uint64 // exchanges between origins
}

type slot struct {
	b    *Buffer
	done bool // classified in this turn
}

// NewStock makes a stock of want buffers in normal and guaranteed ones in crunch,
// which it has from now on and never gives back. It panics after Seal, and
// when the reserve does not have them. Want below guaranteed means guaranteed.
func (r *Reserve) NewStock(want, guaranteed int) *Stock {
	want = max(want, guaranteed)
	r.prepare(want)
	r.mu.Lock()
	defer r.unlock()
	if r.sealed {
		panic("reserve: NewStock after Seal: make every stock at start")
	}
	left := r.claimable() - guaranteed
	if guaranteed < 1 || left < r.largest || r.freeReserve.n+r.freeNormal() < guaranteed {
		panic(fmt.Sprintf("reserve: NewStock(%d, %d): guarantee at least 1, and leave %d of the reserve's %d to the largest claim",
			want, guaranteed, r.largest, r.claimable()))
	}
	s := &Stock{
		r: r, want: want, guaranteed: guaranteed,
		slots: make([]slot, 0, want), frames: make([][]byte, 0, want),
		version: r.version.Load(),
	}
	r.want += want
	r.guaranteed += guaranteed
	r.stocks = append(r.stocks, s)
	s.fill()
	return s
}

// Frames starts a turn: it returns the buffers of all slots at full length, for
// the link to receive into, slot i being the i-th. They are lent until the slot
// is exchanged or the next Frames. After Close it returns nil.
//
// It panics when a frame of the last turn was neither exchanged nor dropped.
func (s *Stock) Frames() [][]byte {
	s.endTurn()
	if s.attend || s.version != s.r.version.Load() {
		s.adjust()
	}
	return s.frames
}

// endTurn makes slots whole again. A link fills buffers from the first on, so
// the turn ends at the first slot that nothing was received into.
func (s *Stock) endTurn() {
	for i := 0; s.classified > 0 || i < len(s.slots) && s.received(i); i++ {
		if i == len(s.slots) || !s.slots[i].done {
			panic(fmt.Sprintf("reserve: the frame in slot %d was neither exchanged nor dropped in its turn", i))
		}
		s.slots[i].done = false
		s.frames[i] = s.slots[i].b.Data
		s.classified--
	}
}

// received reports whether a link has resliced the slot's buffer.
func (s *Stock) received(i int) bool { return len(s.frames[i]) != s.r.cfg.BufferSize }

// Exchange keeps the frame in a slot for a request: its buffer becomes the i-th
// of the grant, and the grant's empty one takes its place (I5). The frame that
// was received stays where it is and belongs to the grant's owner.
func (s *Stock) Exchange(slot int, g *Grant, i int) {
	if g.r != s.r || g.phase != held {
		panic(fmt.Sprintf("reserve: exchange with grant %d, which holds nothing here", g.number))
	}
	sl := s.classify(slot)
	in, out := g.buffers[i], sl.b
	in.move(granted, stocked)
	out.move(stocked, granted)
	g.buffers[i], sl.b = out, in
	s.exchanges.Add(1)
	if in.origin != out.origin {
		s.mismatches.Add(1)
		s.attend = s.attend || in.origin == FromReserve
	}
}

// Drop frees the frame in a slot at once: nobody waits for it (I6). Its buffer
// is ready for the next.
func (s *Stock) Drop(slot int) {
	s.classify(slot)
	s.freed.Add(1)
}

func (s *Stock) classify(i int) *slot {
	sl := &s.slots[i]
	if sl.done {
		panic(fmt.Sprintf("reserve: the frame in slot %d is classified twice in a turn", i))
	}
	sl.done = true
	s.classified++
	return sl
}

// adjust brings the stock to what the regime gives it. All its buffers are
// empty now.
func (s *Stock) adjust() {
	r := s.r
	r.mu.Lock()
	defer r.unlock()
	s.version, s.attend = r.version.Load(), false
	if r.closed {
		s.frames = nil
		return
	}
	if r.regime.now == Normal {
		s.fill() // which may find that normal memory fails
	}
	if r.regime.now == Crunch {
		s.shrink()
		r.serve()
	}
	s.version = r.version.Load()
}

// fill brings the stock to the size it wants, by normal allocation; what is
// guaranteed comes from the reserve when that fails. Where normal memory has
// come back, it also takes the place of the reserve, which is whole again.
func (s *Stock) fill() {
	r := s.r
	failed := r.regime.now == Crunch || r.normalFails()
	for len(s.slots) < s.want && !failed && r.freeNormal() > 0 && r.slabs.mapped > r.surplus() {
		s.add(r.takeNormal(stocked))
		r.stats.normalAllocations++
	}
	for len(s.slots) < s.guaranteed {
		if r.freeReserve.n > 0 {
			s.add(r.takeReserve(stocked))
		} else {
			s.add(r.takeNormal(stocked))
		}
	}
	for i := 0; i < len(s.slots) && !failed && r.freeNormal() > r.missing(); i++ {
		if s.slots[i].b.origin == FromReserve {
			s.replace(i, r.takeNormal(stocked))
			r.stats.normalAllocations++
		}
	}
}

// shrink gives back all that is not guaranteed, and holds the reserve's buffers
// rather than normal ones, so that slabs fall idle. The claims lose nothing by
// that: for each buffer of the reserve they get a normal one.
func (s *Stock) shrink() {
	r := s.r
	for len(s.slots) > s.guaranteed {
		last := len(s.slots) - 1
		r.put(s.slots[last].b, stocked)
		s.slots[last] = slot{}
		s.slots, s.frames = s.slots[:last], s.frames[:last]
		r.stocked--
	}
	for i := range s.slots {
		if s.slots[i].b.origin == FromNormal && r.freeReserve.n > 0 {
			s.replace(i, r.takeReserve(stocked))
		}
	}
}

func (s *Stock) add(b *Buffer) {
	s.slots = append(s.slots, slot{b: b})
	s.frames = append(s.frames, b.Data)
	s.r.stocked++
}

// replace puts b into a slot, and frees what was there.
func (s *Stock) replace(i int, b *Buffer) {
	s.r.put(s.slots[i].b, stocked)
	s.slots[i].b = b
	s.frames[i] = b.Data
}
