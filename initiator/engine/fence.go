package engine

import "time"

// A fence holds back writes to sectors that a copy of an earlier, finished
// write may still be on its way to (H1): it would undo them. The fence consists
// of the lingering slots of those writes. One goes when each of its copies was
// answered, or when the longest life of a frame has passed since the last was
// sent.
//
// Reads pass: a late copy writes what its sectors hold already.
type fence struct {
	up int // lingering slots

	list slotList // in order of expiry

	// chains are the same slots by where they begin, so that a write that is
	// about to be sent looks at those nearby only: with 5 % of all frames
	// lost and 100,000 writes a second there are thousands.
	chains []int32
	wide   int32 // chain of those longer than a granule: trims
}

// granule is the width in sectors of what one chain covers. No frame of data is
// longer: the count is one byte.
const granule = 256

func newFence(slots int) fence { return fence{chains: make([]int32, slots/4)} }

func (f *fence) chain(lba, sectors uint64) *int32 {
	if sectors > granule {
		return &f.wide
	}
	return &f.chains[lba/granule%uint64(len(f.chains))]
}

// putUpFence makes slot i linger.
func (e *Engine) putUpFence(i int32) {
	s := &e.table.slots[i]
	s.state = slotLingering
	s.deadline = s.lastSent() + e.cfg.FrameLife
	e.arm(s.deadline)

	// Most slots expire in the order in which they come here.
	after := e.fence.list.tail
	for after != 0 && e.table.slots[after].deadline > s.deadline {
		after = e.table.slots[after].prev
	}
	e.table.insertAfter(&e.fence.list, after, i)

	head := e.fence.chain(s.lba, s.sectors)
	s.chainPrev, s.chainNext = 0, *head
	if *head != 0 {
		e.table.slots[*head].chainPrev = i
	}
	*head = i
	e.fence.up++
	e.counters.Fences++
}

// takeDownFence frees the lingering slot i and lets waiting writes go on.
func (e *Engine) takeDownFence(i int32) {
	s := &e.table.slots[i]
	e.table.remove(&e.fence.list, i)
	if s.chainPrev == 0 {
		*e.fence.chain(s.lba, s.sectors) = s.chainNext
	} else {
		e.table.slots[s.chainPrev].chainNext = s.chainNext
	}
	if s.chainNext != 0 {
		e.table.slots[s.chainNext].chainPrev = s.chainPrev
	}
	e.fence.up--
	lba, sectors := s.lba, s.sectors
	e.table.release(i)
	for r := e.held.head; r != nil; {
		next := r.queue.next
		if overlap(lba, sectors, r.LBA, r.Sectors) && !e.fencedOff(r) {
			e.held.remove(r)
			r.place = ready
			e.ready.push(r)
		}
		r = next
	}
}

// fencedOff reports whether a copy of an earlier write may still reach the
// sectors of r.
func (e *Engine) fencedOff(r *Request) bool {
	first, last := r.LBA/granule, (r.LBA+r.Sectors-1)/granule
	if last-first >= uint64(len(e.fence.chains))/2 {
		return e.anyOverlap(e.fence.list.head, r, func(s *slot) int32 { return s.next })
	}
	chained := func(s *slot) int32 { return s.chainNext }
	// A slot that begins in the granule before may reach into the first.
	for g := max(first, 1) - 1; g <= last; g++ {
		if e.anyOverlap(e.fence.chains[g%uint64(len(e.fence.chains))], r, chained) {
			return true
		}
	}
	return e.anyOverlap(e.fence.wide, r, chained)
}

func (e *Engine) anyOverlap(i int32, r *Request, next func(*slot) int32) bool {
	for ; i != 0; i = next(&e.table.slots[i]) {
		if s := &e.table.slots[i]; overlap(s.lba, s.sectors, r.LBA, r.Sectors) {
			return true
		}
	}
	return false
}

// expireFences takes down the fences whose copies cannot be alive any more.
func (e *Engine) expireFences(now time.Duration) {
	for i := e.fence.list.head; i != 0; i = e.fence.list.head {
		if d := e.table.slots[i].deadline; d > now {
			e.arm(d)
			return
		}
		e.takeDownFence(i)
	}
}
