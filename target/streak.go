package target

import (
	"aoe/frame"
	"aoe/target/store"
)

// A streak is reads, or writes, that a port has received one after the other and
// that lie one behind the other on a disk, as somebody's who copies or streams.
// They are carried out with one call, which looks for the file's place and takes
// its lock once instead of each time. The port carries a streak out when a request
// comes that does not belong to it, and before it answers or waits for more: so
// nothing waits for a streak to grow.
//
// Its requests are active from when they were admitted, as those that are carried
// out at once; what conflicts with them and comes by another port waits.
type streak struct {
	disk     *disk // of all of them
	requests [replyBatch]request
	slots    [replyBatch]*[]byte
	data     [replyBatch][]byte
	n        int
}

// mayJoin reports whether c can be part of a streak. The answer to a request that
// everybody was asked is in a buffer that the next disk's needs.
func (d *disk) mayJoin(c *claim, to frame.Addr) bool {
	return d.gather != nil && (c.what == doRead || c.what == doWrite) && !to.IsWildcard()
}

// follows reports whether c goes on where b ends, with the same.
func (c *claim) follows(b *claim) bool { return c.what == b.what && c.from == b.to }

// goesOn reports whether c, which may join, belongs to the streak.
func (s *streak) goesOn(d *disk, c *claim) bool {
	return s.n > 0 && s.n < len(s.requests) && s.disk == d && c.follows(&s.requests[s.n-1].claim)
}

// next is where a request is examined: a place behind the streak.
func (s *streak) next() *request { return &s.requests[s.n] }

// join makes next's request, which is active, part of the streak.
func (s *streak) join(d *disk, slot *[]byte) {
	s.disk, s.slots[s.n], s.data[s.n] = d, slot, s.next().data(full(*slot))
	s.n++
}

// endStreak carries the streak out and adds the answers to replies. What cannot be
// done with one call that does not wait is done request by request, so that each
// has its own outcome.
func (p *port) endStreak() {
	s := &p.streak
	d, n := s.disk, s.n
	if n == 0 {
		return
	}
	s.disk, s.n = nil, 0
	if n == 1 || d.nowTogether(s.requests[0].claim, s.data[:n]) != nil {
		for i := range n {
			if reply := p.run(d, &s.requests[i], s.slots[i]); reply != nil {
				p.replies = append(p.replies, reply)
			}
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range n {
		r := &s.requests[i]
		out := d.resultLocked(&r.claim, r.arrived, false, nil)
		d.doneLocked(r)
		p.replies = append(p.replies, d.answerATA(&r.claim, full(*s.slots[i]), out))
	}
	d.drainedLocked()
}

// nowTogether does what requests ask of which the first is c, if the store need not
// wait for it. An error says nothing of any one of them.
func (d *disk) nowTogether(c claim, data [][]byte) error {
	off := int64(c.from) * frame.SectorSize
	if c.what == doRead {
		return d.gather.ReadAllNow(data, off)
	}
	if err := d.gather.WriteAllNow(data, off); err != nil || !d.mode.answersSynced() {
		return err
	}
	return d.gather.SyncNow()
}

// changeTogether carries out writes of which each goes on where the one before it
// ends, or anything else alone, and sets the error of each. data has room for as many.
func (d *disk) changeTogether(rs []*request, data [][]byte) {
	if len(rs) > 1 {
		for i, r := range rs {
			data[i] = r.data(r.buf)
		}
		if d.gather.WriteAll(data[:len(rs)], int64(rs[0].from)*frame.SectorSize) == nil {
			return // their errors are nil
		}
	}
	for _, r := range rs {
		r.err = d.change(r)
	}
}

var _ [store.MaxGather - replyBatch]struct{} // a streak is not longer than a store takes
