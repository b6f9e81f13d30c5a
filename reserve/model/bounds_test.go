package model

import (
	"fmt"
	"testing"
)

// TestBoundsOfClaims: the search finds by itself what docs/RESERVE.md derives:
// all at once a pool needs the largest claim m, one by one N(m-1)+1.
func TestBoundsOfClaims(t *testing.T) {
	for m := 1; m <= 4; m++ {
		for n := 1; n <= 5; n++ {
			c := Claims{Requests: n, Units: m}
			if got, want := c.LeastCapacity(), n*(m-1)+1; got != want {
				t.Errorf("%d requests of %d units, one by one: %d, want %d", n, m, got, want)
			}
			c.AllAtOnce = true
			if got := c.LeastCapacity(); got != m {
				t.Errorf("%d requests of %d units, all at once: %d, want %d", n, m, got, m)
			}
		}
	}
}

// TestBoundsOfCaches: private caches of c units cost (P-1)c more.
func TestBoundsOfCaches(t *testing.T) {
	for threads := 1; threads <= 4; threads++ {
		for cache := 0; cache <= 3; cache++ {
			for m := 1; m <= 3; m++ {
				got := Caches{Threads: threads, Cache: cache, Units: m}.LeastCapacity()
				if want := m + (threads-1)*cache; got != want {
					t.Errorf("%d threads, caches of %d, %d needed: %d, want %d", threads, cache, m, got, want)
				}
			}
		}
	}
}

// TestBoundOfLiveness: one frame for sending, one for receiving, and the drop;
// without any one of them it deadlocks, however much there is of the others.
func TestBoundOfLiveness(t *testing.T) {
	for _, pages := range []int{1, 2, 4, 6} {
		for transmit := range 4 {
			for receive := range 4 {
				for _, drop := range []bool{false, true} {
					r := SetAside{transmit, receive, drop}
					if got, want := r.Lives(pages), transmit > 0 && receive > 0 && drop; got != want {
						t.Errorf("%d pages, %+v: lives %v, want %v", pages, r, got, want)
					}
				}
			}
		}
	}
}

// TestBoundOfNoLoss: claims and unclassified frames together.
func TestBoundOfNoLoss(t *testing.T) {
	for claims := 1; claims <= 4; claims++ {
		for unclassified := range 4 {
			if got, want := LeastForNoLoss(claims, unclassified), claims+unclassified; got != want {
				t.Errorf("%d writes, %d frames unclassified: %d, want %d", claims, unclassified, got, want)
			}
		}
	}
}

// TestNoThrottleIsEnough: whatever the limit, and whatever the machine keeps
// from applications, without a reserve it can die.
func TestNoThrottleIsEnough(t *testing.T) {
	for pages := 2; pages <= 8; pages++ {
		for limit := 1; limit <= pages; limit++ {
			if v := (World{Pages: pages, Policy: Policy{Throttle: limit}}).Search(); v.Dead == 0 {
				t.Errorf("%d pages, at most %d dirty: nothing is dead", pages, limit)
			}
		}
		if n := LeastWatermark(Policy{}, pages); n >= 0 {
			t.Errorf("%d pages: %d kept from applications are enough without a reserve", pages, n)
		}
	}
}

// TestWhatAGuardNeeds: with the guard, two pages that applications may not have
// are enough, one to send with and one for the card; without it none are; with
// a queue of our own none are needed.
func TestWhatAGuardNeeds(t *testing.T) {
	want := map[string]int{"ours-t1": -1, "ours-t2": 2, "ours-t3": 0}
	for _, p := range OursInTiers() {
		for pages := 3; pages <= 6; pages++ {
			t.Run(fmt.Sprint(p.Name, "/", pages), func(t *testing.T) {
				p.Store = mustOurs(t, OursConfig{Reserve: 3, Stock: 1, Requests: pages + 1})
				if got := LeastWatermark(p, pages); got != want[p.Name] {
					t.Errorf("%d, want %d", got, want[p.Name])
				}
			})
		}
	}
}

func mustOurs(t testing.TB, cfg OursConfig) *Ours {
	t.Helper()
	o, err := NewOurs(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
