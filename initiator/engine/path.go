package engine

import (
	"time"

	"aoe/frame"
)

// A path is one way to the target: a port of ours and one of its. There is one
// for now; estimators and silence are its own, the window is the target's.
type path struct {
	local, remote frame.MAC
	rtt           [classes]estimator
	order         [classes]order
	flight        [classes]slotList // sent and not given up, in order of sending

	waiting      bool          // something sent is not answered
	waitingSince time.Duration // when the oldest of it was sent, or the last answer came
	heard        time.Duration // last answer
	reached      time.Duration // when the latest frame that was answered was sent
}

func newPath(local, remote frame.MAC) path { return path{local: local, remote: remote} }

// onSent notes that something that wants an answer was sent.
func (p *path) onSent(now time.Duration) {
	if !p.waiting {
		p.waiting, p.waitingSince = true, now
	}
}

// onHeard notes an answer; more tells whether others are waited for.
func (p *path) onHeard(now time.Duration, more bool) {
	p.heard, p.waiting, p.waitingSince = now, more, now
}

// silentFor is how long nothing was heard although something should have been.
func (p *path) silentFor(now time.Duration) time.Duration {
	if !p.waiting {
		return 0
	}
	return now - p.waitingSince
}

// maxFlushTimeout bounds the back-off of flushes.
const maxFlushTimeout = 30 * time.Second

// timeout is the retransmission timeout of a frame of class c that has timed
// out backoff times: "the host MUST set RTO <- RTO * 2" (RFC 6298, section 5.5).
func (e *Engine) timeout(c class, backoff uint8) time.Duration {
	first, least, most := e.cfg.RTOFirst, e.cfg.RTOMin, e.cfg.RTOMax
	if c == classFlush {
		least, most = e.cfg.FlushRTO, max(maxFlushTimeout, e.cfg.FlushRTO)
		first = 4 * least
	}
	rto := e.path.rtt[c].timeout(first, least, most)
	return min(rto<<min(backoff, 20), most)
}
