package attach

import (
	"errors"
	"runtime"

	"aoe/initiator"
)

// A ublkCompany lets the disk's loop be the thread of a queue: a request is then
// not handed from thread to thread, twice, and there is no other thread that could
// wait for memory. All but opened is the loop's.
type ublkCompany struct {
	q      *ublkQueue
	disk   accompanied
	opened chan error // how the first turn went
	begun  bool
	turns  int
}

var _ initiator.Companion = (*ublkCompany)(nil)

// accompany has the disk's loop serve the queue, if it takes companions.
func (q *ublkQueue) accompany() (taken bool, err error) {
	disk, ok := q.disk.(accompanied)
	if !ok || !disk.Accompanies() {
		return false, nil
	}
	q.company = &ublkCompany{q: q, disk: disk, opened: make(chan error, 1)}
	if err := disk.Accompany(q.port.news(), q.company); err != nil {
		return false, err
	}
	return true, <-q.company.opened
}

// ublkLookEvery is how many turns pass until the kernel is asked for requests although
// nothing tells of any: a link that always finds frames does not look who else
// has something to say.
const ublkLookEvery = 4

// Turn implements initiator.Companion.
func (c *ublkCompany) Turn(heard bool) bool {
	q := c.q
	if !c.begun {
		// The kernel takes requests back from nobody but the thread that has
		// asked for them. The loop's ends with it.
		runtime.LockOSThread()
		err := q.port.open()
		if err == nil {
			c.begun = true
			q.begin()
		}
		c.opened <- err
		if err != nil {
			return false
		}
	}
	q.goOn()
	c.turns++
	for look := heard || q.inHand > 0 && c.turns%ublkLookEvery == 0; look || q.port.staged(); look = false {
		err := q.look(false)
		if err != nil || q.live == 0 {
			go q.finish(err) // waits for admissions, which may wait for a turn
			return false
		}
		q.goOn()
	}
	return true
}

// errDiskClosed: the disk was closed before its loop could begin.
var errDiskClosed = errors.New("attach: the disk was closed")

// End implements initiator.Companion: what was the loop's thread goes on until
// the device is taken away. Whoever uses that is told that the disk is gone.
func (c *ublkCompany) End() {
	if !c.begun {
		c.opened <- errDiskClosed
		return
	}
	c.q.goOn()
	c.q.finish(c.q.serve())
}
