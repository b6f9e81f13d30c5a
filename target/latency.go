package target

import "time"

// LatencyBounds are the upper bounds of all counts of a Latency but the last:
// four times the one before, from what a device with a cache that survives a
// power failure takes to what one takes that is about to fail.
var LatencyBounds = [...]time.Duration{
	64 * time.Microsecond, 256 * time.Microsecond, 1024 * time.Microsecond, 4096 * time.Microsecond, 16384 * time.Microsecond,
	65536 * time.Microsecond, 262144 * time.Microsecond, 1048576 * time.Microsecond, 4194304 * time.Microsecond, 16777216 * time.Microsecond,
}

// A Latency counts how long something took.
type Latency struct {
	Counts [len(LatencyBounds) + 1]uint64 `json:"counts"` // each up to its bound, the last beyond all
	Sum    time.Duration                  `json:"sum"`    // nanoseconds
}

func (l *Latency) add(t time.Duration) {
	i := 0
	for i < len(LatencyBounds) && t > LatencyBounds[i] {
		i++
	}
	l.Counts[i]++
	l.Sum += t
}

// Mean is the average, 0 of nothing.
func (l Latency) Mean() time.Duration {
	var n uint64
	for _, c := range l.Counts {
		n += c
	}
	if n == 0 {
		return 0
	}
	return l.Sum / time.Duration(n)
}
