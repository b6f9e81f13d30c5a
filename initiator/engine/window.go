package engine

import "time"

// A window bounds the frames in flight to a target: by what the target says it
// can hold (its buffer count, I11), by what the owner allows, and by what
// losses tell of the network between.
//
// The buffer count is the protocol's own push-back, so losses within it are
// rarely congestion; the response to one is therefore mild: 7/8 once per round
// trip. Only when nothing at all was heard it is two frames, nearly as in TCP:
// either the target stalls, and will answer what it has, or everything was lost,
// and doubling finds the way back. (Two, so that one which is never answered
// does not keep the others from asking.) One frame is always allowed: every
// attached target keeps at least one credit.
type window struct {
	buffers   int // advertised by the target
	configMax int // the owner's bound
	memoryMax int // the owner's bound while memory is short; 0: none

	cwnd     int // what losses allow
	ssthresh int // grow by one per answer below this
	credit   int // answers since the last growth above it
	lastCut  time.Duration
	before   int // cwnd before the last cut
	cuts     uint64
}

const firstWindow = 16

// undoable is how close cuts must follow each other to be undone together: a
// target that stalls for a while causes a few.
const undoable = 100 * time.Millisecond

func newWindow(buffers, configMax int) window {
	w := window{buffers: buffers, configMax: configMax, lastCut: -1 << 62}
	w.cwnd = min(firstWindow, w.cap())
	w.ssthresh = w.cap()
	return w
}

// cap is the bound that does not depend on losses.
func (w *window) cap() int {
	n := min(w.configMax, w.buffers)
	if w.memoryMax > 0 {
		n = min(n, w.memoryMax)
	}
	return max(n, 1)
}

// limit is how many frames may be in flight.
func (w *window) limit() int { return max(min(w.cwnd, w.cap()), 1) }

// onAnswer is called for each frame answered, with the number in flight before
// it. A window that is not used does not grow.
func (w *window) onAnswer(inFlight int) {
	if w.cwnd >= w.cap() || inFlight < w.cwnd {
		return
	}
	if w.cwnd < w.ssthresh {
		w.cwnd++
		return
	}
	if w.credit++; w.credit >= w.cwnd {
		w.cwnd++
		w.credit = 0
	}
}

// onTimeout is called for each frame that timed out. Losses within one round
// trip are one event. silent tells that nothing at all was heard since the
// frame was sent.
func (w *window) onTimeout(now, rtt time.Duration, silent bool) {
	if now-w.lastCut < rtt {
		return
	}
	if now-w.lastCut > undoable {
		w.before = 0
	}
	w.lastCut = now
	w.cuts++
	w.cwnd = min(w.cwnd, w.cap())
	w.before = max(w.before, w.cwnd)
	if silent {
		w.ssthresh = max(w.cwnd/2, 2)
		w.cwnd = min(w.cwnd, 2)
		return
	}
	w.cwnd = max(w.cwnd*7/8, 1)
	w.ssthresh = w.cwnd
}

// onSpurious: an earlier copy was answered after all, so the last cuts were for
// no loss but for slowness, and are undone (the idea of RFC 4015).
func (w *window) onSpurious() {
	if w.before > w.cwnd {
		w.cwnd, w.ssthresh = w.before, max(w.ssthresh, w.before)
	}
	w.before = 0
}
