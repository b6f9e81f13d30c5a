package initiator

import (
	"errors"

	"aoe/frame/link"
)

// A Companion is somebody whose requests come over a descriptor, and who takes
// them from it, submits them and answers on the disk's loop itself: a request is
// then not handed from thread to thread, which would cost more than all the rest.
//
// What is said of callbacks is true of its methods too: they must not block, and
// admit with TryAdmit alone.
type Companion interface {
	// Turn is called in each turn of the loop, behind the callbacks of what has
	// ended. Heard tells that there may be news of the descriptor, of which
	// nothing else tells; while requests of its own are under way, a companion
	// looks for itself. The loop forgets a companion whose Turn returns false.
	Turn(heard bool) (stays bool)

	// End is the last call, when the loop has ended: everything under way has been
	// called back, and what is submitted from now on is called back by Submit. It
	// is called on the loop's thread, which ends when all companions have returned;
	// nobody else waits for them.
	End()
}

// errNoCompany: see Accompanies.
var errNoCompany = errors.New("initiator: this link cannot wait for other descriptors, or the disk is closed")

// Accompanies reports whether the disk's loop can have companions: whether its
// link is a [link.Watcher].
func (d *Disk) Accompanies() bool {
	_, ok := d.ports[0].link.(link.Watcher)
	return ok
}

// Accompany has c called on the disk's loop from now on. The descriptor is to be
// closed when the loop has forgotten c.
func (d *Disk) Accompany(fd int, c Companion) error {
	w, ok := d.ports[0].link.(link.Watcher)
	if !ok {
		return errNoCompany
	}
	if err := w.Watch(fd); err != nil {
		return err
	}
	if !d.inbox.join(c) {
		return errNoCompany
	}
	return nil
}

// Nudge has the loop take a turn soon, and with it every companion. Any goroutine
// may call it.
func (d *Disk) Nudge() { d.inbox.notify() }

// lookEvery is how many turns pass until companions without a request under way
// are asked to look at their descriptors, though the link has not told of any: it
// does not hear of them as long as it always finds frames.
const lookEvery = 32

// accompany gives the companions their turn.
func (d *Disk) accompany() {
	d.called = false
	if len(d.companions) == 0 {
		return
	}
	d.turns++
	heard := d.watcher.Heard() || d.turns%lookEvery == 0
	kept := d.companions[:0]
	for _, c := range d.companions {
		if c.Turn(heard) {
			kept = append(kept, c)
		}
	}
	clear(d.companions[len(kept):])
	d.companions = kept
}

// welcome takes new companions on, who may have something to say already.
func (d *Disk) welcome(joined []Companion) {
	if len(joined) == 0 {
		return
	}
	d.watcher = d.ports[0].link.(link.Watcher)
	d.companions = append(d.companions, joined...)
	d.turns = -1 // so that the next turn looks
	d.inbox.notify()
}

// farewell tells the companions that the loop ends.
func (d *Disk) farewell() {
	for _, c := range d.companions {
		c.End()
	}
	d.companions = nil
}
