package linktest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Faults are what can happen to a frame on its way. The zero value is a perfect
// segment.
type Faults struct {
	Loss      float64 // probability that a frame is lost, 0 to 1
	Duplicate float64 // probability that a frame arrives twice
	Reorder   float64 // probability that a frame is held back, see Hold

	// Hold is the longest time that a frame is held back by Reorder or a second
	// copy comes later than the first; the actual time is uniformly distributed.
	// Zero means 1 ms.
	Hold time.Duration
	// Delay is the time that every frame takes.
	Delay time.Duration
}

// DefaultHold is what a zero Faults.Hold means.
const DefaultHold = time.Millisecond

func (f Faults) hold() time.Duration {
	if f.Hold == 0 {
		return DefaultHold
	}
	return f.Hold
}

// check panics when f is not what its fields say: a test has a mistake in it.
func (f Faults) check() {
	for _, p := range []float64{f.Loss, f.Duplicate, f.Reorder} {
		if !(p >= 0 && p <= 1) {
			panic(fmt.Sprintf("linktest: %v is not a probability", p))
		}
	}
	if f.Hold < 0 || f.Delay < 0 {
		panic(fmt.Sprintf("linktest: frames do not travel back in time: %+v", f))
	}
}

// A Fate is what happens to one frame on its way to one port.
type Fate struct {
	Lost  bool
	Delay time.Duration // of the frame

	Twice       bool
	SecondDelay time.Duration // of the second copy, when Twice
}

// draw decides the fate of one frame. It takes the same number of values from
// rng whatever the fate is, so that one fault does not change all later ones.
func (f Faults) draw(rng *rand.Rand) Fate {
	loss, duplicate, reorder := rng.Float64(), rng.Float64(), rng.Float64()
	hold, second := rng.Float64(), rng.Float64()
	fate := Fate{Lost: loss < f.Loss, Delay: f.Delay, Twice: duplicate < f.Duplicate}
	if reorder < f.Reorder {
		fate.Delay += time.Duration(hold * float64(f.hold()))
	}
	if fate.Twice {
		fate.SecondDelay = f.Delay + time.Duration(second*float64(f.hold()))
	}
	return fate
}

// newRand is the one generator of a switch or an impaired link.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x88a2)) }

// A flight is a bounded set of frames on their way, the first to arrive first.
// The buffers of frames that have arrived are used again.
type flight struct {
	frames []flying // a binary heap, see before
	spare  [][]byte
	seq    uint64
}

type flying struct {
	due  time.Duration
	seq  uint64
	data []byte
}

func (a flying) before(b flying) bool {
	return a.due < b.due || a.due == b.due && a.seq < b.seq
}

// len is the number of frames on their way.
func (q *flight) len() int { return len(q.frames) }

// next is when the first frame arrives.
func (q *flight) next() (due time.Duration, ok bool) {
	if len(q.frames) == 0 {
		return 0, false
	}
	return q.frames[0].due, true
}

// push takes a copy of data, padded with zeros to atLeast bytes.
func (q *flight) push(due time.Duration, data []byte, atLeast int) {
	var buf []byte
	if n := len(q.spare); n > 0 {
		buf, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	buf = append(buf[:0], data...)
	for len(buf) < atLeast {
		buf = append(buf, 0)
	}
	q.seq++
	q.frames = append(q.frames, flying{due, q.seq, buf})
	for i := len(q.frames) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.frames[i].before(q.frames[parent]) {
			break
		}
		q.frames[i], q.frames[parent] = q.frames[parent], q.frames[i]
		i = parent
	}
}

// pop removes the first frame if it is due and returns it. The data are valid
// until the next push.
func (q *flight) pop(now time.Duration) (data []byte, ok bool) {
	if len(q.frames) == 0 || q.frames[0].due > now {
		return nil, false
	}
	first := q.frames[0].data
	last := len(q.frames) - 1
	q.frames[0] = q.frames[last]
	q.frames[last] = flying{}
	q.frames = q.frames[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q.frames[child].before(q.frames[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		q.frames[i], q.frames[least] = q.frames[least], q.frames[i]
		i = least
	}
	q.spare = append(q.spare, first)
	return first, true
}

// clear forgets all frames.
func (q *flight) clear() {
	for i, f := range q.frames {
		q.spare = append(q.spare, f.data)
		q.frames[i] = flying{}
	}
	q.frames = q.frames[:0]
}
