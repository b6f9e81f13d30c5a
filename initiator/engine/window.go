package engine

import "time"

// A window bounds the frames in flight to a target: by what the target says it
// can hold (its buffer count, I11), by what the owner allows, and by what
// losses tell of the network between.
//
// It grows by one for each answer at first (slow start), then by one for each
// round in which nothing was lost (additive increase); a round is as many
// frames as the window has. When a round loses more than an eighth of its
// frames, and one, the window becomes three quarters of what it was
// (multiplicative decrease). Fewer losses are the network's own: the buffer
// count is the protocol's push-back, so that losses within it are rarely
// congestion, and a window cut for each, as TCP's is, would leave a third of the
// throughput at 5 % loss. But they keep the window from growing, so that what
// overflows at some size settles there.
//
// Only when nothing at all was heard the window is two frames, nearly as in
// TCP: either the target stalls, and will answer what it has, or everything was
// lost, and doubling finds the way back. (Two, so that one which is never
// answered does not keep the others from asking.) One frame is always allowed:
// every attached target keeps at least one credit.
type window struct {
	buffers   int // advertised by the target
	configMax int // the owner's bound
	memoryMax int // the owner's bound while memory is short; 0: none

	cwnd     int // what losses allow
	ssthresh int // grow by one per answer below this
	lastCut  time.Duration
	before   int // cwnd before the last cut
	cuts     uint64

	// The round.
	answered, lost int
	used           bool // the whole window was
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
	w.answered++
	full := inFlight >= w.cwnd
	w.used = w.used || full
	if full && w.lost == 0 && w.cwnd < min(w.ssthresh, w.cap()) {
		w.cwnd++
	}
	w.endRound()
}

// endRound begins a new round when every frame of a window was answered or
// lost.
func (w *window) endRound() {
	if w.answered+w.lost < w.cwnd {
		return
	}
	if w.lost == 0 && w.used && w.cwnd >= w.ssthresh && w.cwnd < w.cap() {
		w.cwnd++
	}
	w.newRound()
}

func (w *window) newRound() { w.answered, w.lost, w.used = 0, 0, false }

// onLoss is called for each frame that is taken for lost, with the time at which
// it was sent. silent tells that nothing at all was heard since then.
func (w *window) onLoss(now, sent time.Duration, silent bool) {
	if sent < w.lastCut {
		return // the window was cut since: this is a part of what that was for
	}
	w.cwnd = min(w.cwnd, w.cap())
	w.lost++
	switch {
	case silent:
		w.cut(now, min(w.cwnd, 2), max(w.cwnd/2, 2))
	case w.lost > 1+w.cwnd/8:
		n := max(w.cwnd*3/4, 1)
		w.cut(now, n, n)
	default:
		w.endRound()
	}
}

func (w *window) cut(now time.Duration, cwnd, ssthresh int) {
	if now-w.lastCut > undoable {
		w.before = 0
	}
	w.lastCut = now
	w.cuts++
	w.before = max(w.before, w.cwnd)
	w.cwnd, w.ssthresh = cwnd, ssthresh
	w.newRound()
}

// onSpurious: an earlier copy was answered after all, so the last cuts were for
// no loss but for slowness, and are undone (the idea of RFC 4015).
func (w *window) onSpurious() {
	w.lost = max(w.lost-1, 0)
	if w.before > w.cwnd {
		w.cwnd, w.ssthresh = w.before, max(w.ssthresh, w.before)
	}
	w.before = 0
}
