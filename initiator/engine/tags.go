package engine

import (
	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// Tags are told which tags are outstanding: whoever looks at frames before the
// engine does, the kernel for one, can then drop what the engine would drop.
// What [Engine.Admits] admits and what can be known from these calls is the
// same, at any time between two calls of the engine.
//
// The calls are made by the engine's owner, in the middle of its turn: they must
// not block, allocate or fail.
type Tags interface {
	// Slots is how many slots there is room for: it must be [Config.Slots].
	Slots() int

	// SetPaths tells our port and those of the target, which are lent for the
	// call: before the first tag, and when one has changed.
	SetPaths(local frame.MAC, remotes []frame.MAC)

	// SetTags tells which tags of slot are outstanding from now on: those of
	// the count generations that begin with first, as answers to command;
	// none if count is zero. A generation has as many bits as a tag leaves it
	// (see the package comment, "Tags") and wraps around. It is called before
	// a frame with a new tag is given out by Drain.
	SetTags(slot int32, first, count uint32, command aoe.Command)
}

// DefaultSlots is what zero means in [Config.Slots].
const DefaultSlots = 4096

// publish tells the tags of slot i.
func (t *table) publish(i int32) {
	s := &t.slots[i]
	for _, to := range t.tags {
		switch {
		case to == nil:
		case s.state == slotFree:
			to.SetTags(i, 0, 0, 0)
		default:
			to.SetTags(i, s.base, min(s.count, t.genMask+1), s.command)
		}
	}
}

// publishPaths tells the ports of the paths. While nothing is known of the
// target's behind one of ours, nothing is told: any answer is wanted there.
func (e *Engine) publishPaths() {
	for port, to := range e.table.tags {
		e.remotes = e.remotes[:0]
		var local frame.MAC
		for i := range e.paths {
			if p := &e.paths[i]; p.port == port && p.known() {
				local, e.remotes = p.local, append(e.remotes, p.remote)
			}
		}
		if to != nil && len(e.remotes) > 0 {
			to.SetPaths(local, e.remotes)
		}
	}
}

// A verdict is what the header of a frame says about it.
type verdict uint8

const (
	answers   verdict = iota // something outstanding, or lingering
	announces                // the disk
	isShort
	isOtherType
	isRequest
	isOtherVersion
	isOtherSource
	isOtherAddress
	isOtherDestination
	isUnknown
	isLate
	isOtherCommand
)

// dropped is the counter of frames with verdict v.
func (d *Drops) dropped(v verdict) *uint64 {
	switch v {
	case announces:
		return &d.Announce
	case isShort:
		return &d.Short
	case isOtherType:
		return &d.EtherType
	case isRequest:
		return &d.Request
	case isOtherVersion:
		return &d.Version
	case isOtherSource:
		return &d.Source
	case isOtherAddress:
		return &d.Address
	case isOtherDestination:
		return &d.Destination
	case isUnknown:
		return &d.Tag
	case isLate:
		return &d.Late
	case isOtherCommand:
		return &d.Command
	}
	panic("engine: what answers is not dropped")
}

// Admits reports whether b, received by a port, could be an answer to a frame that
// was sent, or an announcement of the disk, by its header. It changes nothing. The rule is
// [Engine.Receive]'s, which goes on to look behind the header.
func (e *Engine) Admits(port int, b []byte) bool {
	l := e.look(port, b)
	return l.verdict == answers || l.verdict == announces
}

// A look is what is seen in the header of a frame.
type look struct {
	verdict verdict
	header  frame.Header
	arg     []byte
	path    *path  // that the frame came over
	slot    int32  // with answers
	nth     uint32 // transmission of the slot
}

// look checks the header of a frame (H14, H22).
func (e *Engine) look(port int, b []byte) (l look) {
	h, arg, err := frame.Parse(b)
	l.header, l.arg = h, arg
	l.path = e.pathFrom(port, h.Src)
	switch {
	case err == frame.ErrEtherType:
		l.verdict = isOtherType
	case err != nil:
		l.verdict = isShort
	case !h.IsResponse():
		l.verdict = isRequest
	case h.Version != frame.Version:
		l.verdict = isOtherVersion
	case l.path == nil:
		l.verdict = isOtherSource
	case h.Addr != e.cfg.Addr:
		l.verdict = isOtherAddress
	case h.Tag == 0 && h.Command == commandQuery && !h.IsError():
		// "A server may announce itself with an unsolicited query config
		// response of tag zero" (AoEr11, section 3.2).
		l.verdict = announces
	case h.Dst != l.path.local:
		l.verdict = isOtherDestination
	default:
		l.slot, l.nth, l.verdict = e.lookUp(h)
		if l.verdict == answers && !l.path.known() && l.slot != l.path.control.slot {
			l.verdict = isOtherSource // who it is was not asked
		}
	}
	return l
}

// lookUp finds what the tag of a header stands for.
func (e *Engine) lookUp(h frame.Header) (slot int32, nth uint32, v verdict) {
	slot, nth, what := e.table.find(h.Tag)
	switch {
	case what == tagLate:
		v = isLate
	case what == tagUnknown:
		v = isUnknown
	case e.table.slots[slot].command != h.Command:
		v = isOtherCommand
	default:
		v = answers
	}
	return slot, nth, v
}
