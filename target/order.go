package target

import (
	"bytes"

	"aoe/frame"
)

// The order of requests to a disk (H2, H3). A request is active from when it is
// admitted until it is carried out. One that conflicts with requests that were
// active before it counts them, and is queued when the last of them is done.
// There are never more active requests than the disk's buffers and the server's
// ports, so that looking at all of them is cheaper than any tree.

// admitLocked makes r active and reports whether it may be carried out at once.
func (d *disk) admitLocked(r *request) bool {
	d.seq++
	r.seq = d.seq
	r.blockers = 0
	for _, other := range d.active {
		if other.conflicts(&r.claim) {
			r.blockers++
		}
	}
	r.index = len(d.active)
	d.active = append(d.active, r)
	return r.blockers == 0
}

// replaceLocked puts r, a copy, in the place of the active request old.
func (d *disk) replaceLocked(old, r *request) {
	d.active[old.index] = r
	r.index, r.blockers = old.index, old.blockers
}

// doneLocked ends r and queues what waited for it alone.
func (d *disk) doneLocked(r *request) {
	if d.active[r.index] != r {
		panic("target: a request ended twice")
	}
	last := len(d.active) - 1
	d.active[r.index] = d.active[last]
	d.active[r.index].index = r.index
	d.active[last] = nil
	d.active = d.active[:last]
	for _, other := range d.active {
		if other.seq > r.seq && other.conflicts(&r.claim) {
			if other.blockers--; other.blockers == 0 {
				d.queueLocked(other)
			}
		}
	}
}

// copyLocked reports whether the request c, whose frame is in b, is a copy of
// one that is active. A tag alone does not make a copy, and neither does a tag
// and an address: an initiator that uses a tag again is wrong (H4), but the data
// it writes is not ours to lose.
func (d *disk) copyLocked(c *claim, b []byte) bool {
	for _, other := range d.active {
		if other.tag != c.tag || other.src != c.src || other.what != c.what || other.ata != c.ata {
			continue
		}
		if c.what == doRead || c.what == doFlush {
			return true
		}
		if other.held && other.n == c.n && bytes.Equal(other.buf[frame.HeaderLen:c.n], b[frame.HeaderLen:c.n]) {
			return true
		}
	}
	return false
}
