package target

import "aoe/frame"

// shares divides a disk's buffers among those who use them (H23). It belongs to
// the disk and its lock, and is asked only for requests that have to be held.
type shares struct {
	total int // buffers to be divided
	table []share
}

// A share is what one initiator has of a disk's buffers.
type share struct {
	mac  frame.MAC
	held int
	seen uint64 // seq of its latest request to be held, also if refused
	used bool
}

// newShares divides total buffers. At most total initiators can hold one, so
// that with one more entry there is always one to give away.
func newShares(total int) shares {
	return shares{total: total, table: make([]share, total+1)}
}

// take gives mac one more buffer, or refuses. An initiator that is alone gets
// half of what is reserved, which is all that is advertised, so that another
// finds as much at once; n of them get an n-th each. Counted are those that
// hold something or have asked lately, also in vain: so the shares of those who
// are there shrink when one comes, and it gets in when they have drained.
func (s *shares) take(mac frame.MAC, now uint64, room bool) bool {
	recent := uint64(4 * s.total)
	var mine, oldest *share
	users := 0
	for i := range s.table {
		e := &s.table[i]
		switch {
		case e.used && e.mac == mac:
			mine = e
			continue
		case e.used && (e.held > 0 || now-e.seen < recent):
			users++
		}
		if e.held == 0 && (oldest == nil || !e.used || oldest.used && e.seen < oldest.seen) {
			oldest = e
		}
	}
	if mine == nil {
		mine = oldest
		*mine = share{mac: mac, used: true}
	}
	mine.seen = now
	if !room || mine.held >= max(s.total/max(users+1, 2), 1) {
		return false
	}
	mine.held++
	return true
}

// give returns a buffer of mac.
func (s *shares) give(mac frame.MAC) {
	for i := range s.table {
		if e := &s.table[i]; e.used && e.mac == mac {
			if e.held == 0 {
				break
			}
			e.held--
			return
		}
	}
	panic("target: a buffer returned that was not held")
}
