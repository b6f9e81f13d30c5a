package timeline

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A happening is when something was to happen, and the how many-eth it was.
type happening struct {
	at    time.Duration
	added int
}

// TestOrder: by time, and then as added, also while events are taken in between.
// It is compared with a stable sort.
func TestOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var q Queue[happening]
		var want []happening
		for i := range 300 {
			h := happening{time.Duration(rng.IntN(20)), i}
			q.Add(h.at, h)
			want = append(want, h)
			slices.SortStableFunc(want, func(a, b happening) int { return int(a.at - b.at) })
			for rng.IntN(3) == 0 && len(want) > 0 {
				takeFirst(t, seed, &q, want[0])
				want = want[1:]
			}
		}
		for ; len(want) > 0; want = want[1:] {
			takeFirst(t, seed, &q, want[0])
		}
		if q.Len() != 0 || q.Next() != Never {
			t.Fatalf("seed %d: %d are left, the next at %v", seed, q.Len(), q.Next())
		}
	}
}

func takeFirst(t *testing.T, seed uint64, q *Queue[happening], want happening) {
	t.Helper()
	n, next := q.Len(), q.Next()
	if at, got := q.Take(); got != want || at != want.at || next != want.at || q.Len() != n-1 {
		t.Fatalf("seed %d: took %+v at %v, announced for %v; want %+v", seed, got, at, next, want)
	}
}

// TestTakenIsForgotten: what was taken is not kept alive by the queue.
func TestTakenIsForgotten(t *testing.T) {
	var q Queue[*int]
	for i := range 8 {
		q.Add(time.Duration(i), new(int))
	}
	for q.Len() > 0 {
		q.Take()
	}
	for _, e := range q.events[:cap(q.events)] {
		if e.event != nil {
			t.Error("an event that was taken is still in memory")
		}
	}
}

// TestTakeOfNothing is a mistake of the caller's.
func TestTakeOfNothing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("something was taken from an empty queue")
		}
	}()
	new(Queue[int]).Take()
}
