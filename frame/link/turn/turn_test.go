package turn

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestATurnIsOver when it has lasted as long as it may, and the next begins then.
func TestATurnIsOver(t *testing.T) {
	start := time.Now()
	var turn Turn
	for _, row := range []struct {
		after time.Duration
		over  bool
	}{
		{0, true}, // the first has never begun
		{0, false},
		{limit - 1, false},
		{limit, true},
		{limit + 1, false},
		{2*limit - 1, false},
		{2 * limit, true},
		{100 * limit, true},
	} {
		if over := turn.over(start.Add(row.after)); over != row.over {
			t.Errorf("after %v: over is %v, want %v", row.after, over, row.over)
		}
	}
}

// TestYieldLetsOthersRun: with one P, a goroutine that could run does.
func TestYieldLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ran atomic.Bool
	go ran.Store(true)
	for !ran.Load() {
		var turn Turn // over
		turn.Yield()
	}
}

// TestYieldDoesNotAllocate.
func TestYieldDoesNotAllocate(t *testing.T) {
	var turn Turn
	if n := testing.AllocsPerRun(1000, turn.Yield); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
