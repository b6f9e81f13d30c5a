package engine

import "time"

// A fence holds back writes to sectors that a copy of an earlier, finished
// write may still be on its way to (H1): it would undo them. The fence consists
// of the lingering slots of those writes. One goes when
//
//   - each of its copies was answered, or
//   - a frame that was sent after the last copy over the same path has been
//     answered, Overtake ago: the copy is lost, or in the target's queue, where
//     a later write will stand behind it, or
//   - the longest life of a frame has passed since the last copy was sent.
//
// The second matters: with 1 % of all frames lost, 32 random writes at a time on
// half a gigabyte made 18,000 a second when each loss closed its sectors for the
// whole life of a frame, and 120,000 without loss.
//
// Paths do not keep order among each other, so that the second helps only where
// all copies that were not answered went over one path, and to the same target.
// docs/ORDER.md has the
// whole reasoning.
//
// Reads pass: a late copy writes what its sectors hold already.
type fence struct {
	up int // lingering slots

	// lists are in order of expiry: one for each path, of the slots whose
	// missing copies all went over it, and those below.
	lists [fenceLists]slotList

	// chains are the same slots by where they begin, so that a write that is
	// about to be sent looks at those nearby only: with 5 % of all frames
	// lost and 100,000 writes a second there are thousands.
	chains []int32
	wide   int32 // chain of those longer than a granule: trims
}

const (
	fenceMixed  = MaxPaths + iota // copies went over several paths, or to several targets: only time helps
	fencePassed                   // overtaken by an answered frame, or soon will have been
	fenceLists
)

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
func (e *Engine) putUpFence(now time.Duration, i int32) {
	s := &e.table.slots[i]
	s.state = slotLingering
	e.enlistOpen(i)

	head := e.fence.chain(s.lba, s.sectors)
	s.chainPrev, s.chainNext = 0, *head
	if *head != 0 {
		e.table.slots[*head].chainPrev = i
	}
	*head = i
	e.fence.up++
	e.counters.Fences++
	if int(s.fence) < len(e.paths) {
		e.passFences(now, &e.paths[s.fence])
	}
}

// enlistOpen puts i into the list of the path that its missing copies went over.
func (e *Engine) enlistOpen(i int32) {
	s := &e.table.slots[i]
	s.deadline = s.lastUnanswered() + e.cfg.FrameLife
	list, ok := s.heldUpBy()
	if !ok || s.first <= e.turned {
		list = fenceMixed // also if one may have gone to another target over the same path
	}
	e.enlist(list, i)
}

// sortFence: one copy more of i is accounted for, and others are not. What is left
// may have gone over one path, or have been overtaken.
func (e *Engine) sortFence(i int32) {
	s := &e.table.slots[i]
	if s.fence == fencePassed {
		return
	}
	e.table.remove(&e.fence.lists[s.fence], i)
	e.enlistOpen(i)
}

// enlist puts i where it belongs by its deadline: nearly always at the end.
func (e *Engine) enlist(list uint8, i int32) {
	s, l := &e.table.slots[i], &e.fence.lists[list]
	after := l.tail
	for after != 0 && e.table.slots[after].deadline > s.deadline {
		after = e.table.slots[after].prev
	}
	e.table.insertAfter(l, after, i)
	s.fence = list
	e.arm(s.deadline)
}

// passFences: those whose last copy was sent over p before a frame that was
// answered stand for Overtake from now on. While it has to be seen who is there,
// it may be another who answers.
func (e *Engine) passFences(now time.Duration, p *path) {
	if e.cfg.Overtake < 0 || !p.usable() {
		return
	}
	l := &e.fence.lists[p.index]
	for i := l.head; i != 0; i = l.head {
		s := &e.table.slots[i]
		if lastCopy := s.deadline - e.cfg.FrameLife; lastCopy >= p.reached {
			return
		}
		e.table.remove(l, i)
		s.deadline = min(s.deadline, now+e.cfg.Overtake)
		e.enlist(fencePassed, i)
	}
}

// takeDownFence frees the lingering slot i and lets waiting writes go on.
func (e *Engine) takeDownFence(i int32) {
	s := &e.table.slots[i]
	e.table.remove(&e.fence.lists[s.fence], i)
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
		listed := func(s *slot) int32 { return s.next }
		for l := range e.fence.lists {
			if e.anyOverlap(e.fence.lists[l].head, r, listed) {
				return true
			}
		}
		return false
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

// expireFences takes down the fences whose time has come.
func (e *Engine) expireFences(now time.Duration) {
	for k := range e.fence.lists {
		l := &e.fence.lists[k]
		for i := l.head; i != 0; i = l.head {
			if d := e.table.slots[i].deadline; d > now {
				e.arm(d)
				break
			}
			e.takeDownFence(i)
		}
	}
}
