package target

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	var l Latency
	if l.Mean() != 0 {
		t.Errorf("mean of nothing is %v", l.Mean())
	}
	for i, took := range []time.Duration{0, 64 * time.Microsecond, 64*time.Microsecond + 1, time.Second, time.Hour} {
		l.add(took)
		if want := [...]int{0, 0, 1, 7, len(LatencyBounds)}[i]; l.Counts[want] == 0 {
			t.Errorf("%v is not counted in %d: %v", took, want, l.Counts)
		}
	}
	if l.Counts[0] != 2 || l.Mean() != (time.Hour+time.Second+128*time.Microsecond+1)/5 {
		t.Errorf("%+v, mean %v", l, l.Mean())
	}
}
