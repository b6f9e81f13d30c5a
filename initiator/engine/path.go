package engine

import (
	"time"

	"aoe/frame"
)

// A hearing is what is known of somebody's answering: of a path, or of the disk
// over all of them.
type hearing struct {
	waiting      bool          // something sent is not answered
	waitingSince time.Duration // when the oldest of it was sent, or the last answer came
	heard        time.Duration // last answer
}

// onSent notes that something that wants an answer was sent.
func (h *hearing) onSent(now time.Duration) {
	if !h.waiting {
		h.waiting, h.waitingSince = true, now
	}
}

// onHeard notes an answer; more tells whether others are waited for.
func (h *hearing) onHeard(now time.Duration, more bool) {
	h.heard, h.waiting, h.waitingSince = now, more, now
}

// silentFor is how long nothing was heard although something should have been.
func (h *hearing) silentFor(now time.Duration) time.Duration {
	if !h.waiting {
		return 0
	}
	return now - h.waitingSince
}

// A path is one way to the target: a port of ours and one of its. Estimators,
// order and silence are its own; the window is the target's.
type path struct {
	index         uint8
	port          int
	local, remote frame.MAC

	hearing
	rtt      [classes]estimator
	order    [classes]order
	flight   [classes]slotList // sent and not given up, in order of sending
	inFlight int               // their length
	lost     int               // frames to be sent again that were sent here last
	reached  time.Duration     // when the latest frame that was answered was sent
	suspect  bool              // a timer ran out and nothing was heard
	sampled  time.Duration     // when a round trip was measured last
	longLost int               // long frames that were lost since one was answered

	limits   limits         // of the length of frames
	instance frame.Instance // of the target that identified the disk here last,
	told     bool           // if one has
	standby  bool           // that is not the one in use
	moved    bool           // but was the one in use before

	control control
	trouble [pathTroubles]trouble
}

func newPath(i int, c Config) path {
	p := c.Paths[i]
	return path{
		index: uint8(i), port: p.Port, local: p.Local, remote: p.Remote,
		told: p.Proven, instance: c.Identity.Instance,
		control: newControl(c.Addr, c.FrameLen, c.fullSectors()), limits: newLimits(c.fullSectors()),
	}
}

// known reports whether the target's port is.
func (p *path) known() bool { return p.remote != frame.MAC{} }

// destination is where frames of the path are sent.
func (p *path) destination() frame.MAC {
	if p.known() {
		return p.remote
	}
	return frame.Broadcast
}

// usable reports whether data may be sent over p.
func (p *path) usable() bool { return !p.control.suspended }

// longLosses is how many long frames are lost in a row until it is looked whether
// any get through.
const longLosses = 8

// onLongLost counts that a frame was lost which was long, or whose answer was.
func (e *Engine) onLongLost(now time.Duration, p *path) {
	if p.longLost++; p.longLost == longLosses {
		p.longLost = 0
		p.control.revalidate = true
		p.control.ask(now)
	}
}

// outstanding reports whether an answer over p is waited for.
func (p *path) outstanding() bool { return p.inFlight > 0 || p.lost > 0 || p.control.slot != 0 }

// pathFrom is the path that a frame from src comes over, or nil. Where the
// target's port is not known, that may be anybody.
func (e *Engine) pathFrom(port int, src frame.MAC) *path {
	var unknown *path
	for i := range e.paths {
		p := &e.paths[i]
		switch {
		case p.port != port:
		case p.remote == src:
			return p
		case !p.known() && !src.IsMulticast():
			unknown = p
		}
	}
	return unknown
}

// pick is the path for the next frame of class c, or nil. Of those that are
// usable it is the one where it is likely to be answered first: where frames
// take least, times how many are there already. One whose timer ran out is
// taken only if there is no other.
func (e *Engine) pick(now time.Duration, c class) *path {
	if len(e.paths) == 1 {
		if p := &e.paths[0]; p.usable() {
			return p
		}
		return nil
	}
	var best *path
	var least time.Duration
	quickest := e.quickest(now, c)
	for i := range e.paths {
		p := &e.paths[i]
		if !p.usable() {
			continue
		}
		cost := p.serviceTime(now, c, quickest) * time.Duration(p.inFlight+1)
		if best == nil || best.suspect && !p.suspect || best.suspect == p.suspect && cost < least {
			best, least = p, cost
		}
	}
	return best
}

// quickest is the least of the paths' service times that are known.
func (e *Engine) quickest(now time.Duration, c class) time.Duration {
	least := time.Duration(0)
	for i := range e.paths {
		p := &e.paths[i]
		if t := p.serviceTime(now, c, 0); p.usable() && t > 0 && (least == 0 || t < least) {
			least = t
		}
	}
	return max(least, time.Microsecond)
}

// fading is how long a path may go unused until its measured times count half:
// it may have become better, which only using it tells.
const fading = 100 * time.Millisecond

// serviceTime is how long a frame of class c takes over p, otherwise if that was
// not measured.
func (p *path) serviceTime(now time.Duration, c class, otherwise time.Duration) time.Duration {
	t := p.rtt[c].srtt
	if t == 0 {
		return otherwise
	}
	if p.inFlight == 0 {
		t >>= min((now-p.sampled)/fading, 20)
	}
	return max(t, time.Microsecond)
}

// maxFlushTimeout bounds the back-off of flushes.
const maxFlushTimeout = 30 * time.Second

// timeout is the retransmission timeout of a frame of class c on path p that has
// timed out backoff times: "the host MUST set RTO <- RTO * 2" (RFC 6298, section
// 5.5).
func (e *Engine) timeout(p *path, c class, backoff uint8) time.Duration {
	first, least, most := e.cfg.RTOFirst, e.cfg.RTOMin, e.cfg.RTOMax
	if c == classFlush {
		least, most = e.cfg.FlushRTO, max(maxFlushTimeout, e.cfg.FlushRTO)
		first = 4 * least
	}
	rto := p.rtt[c].timeout(first, least, most)
	return min(rto<<min(backoff, 20), most)
}
