package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// outcomes says for each policy of the lineage whether it has dead states, with
// a flood into unread sockets, into sockets that are read, and with no flood.
var outcomes = map[string][3]bool{
	"none":            {true, true, true},
	"throttle-2":      {true, false, false},
	"throttle-1":      {true, false, false},
	"mempool":         {true, true, true},
	"random-one":      {},
	"random-all":      {},
	"card-filter":     {},
	"upfront":         {},
	"upfront-page":    {},
	"phillips-posted": {},
	"phillips-jumbo":  {true, true, true},
	"phillips-device": {},
	"phillips":        {},
	"wiki":            {},
	"zijlstra-posted": {true, true, true},
	"zijlstra":        {},
	"zijlstra-full":   {},
	"polyakov":        {true, true, true},
	"polyakov-drain":  {true, false, false},
	"miller":          {true, false, false},
	"miller-exempt":   {},
	"linux-aoe":       {true, true, true},
	"linux-listed":    {},
	"ours-t1":         {true, true, true},
	"ours-t2":         {},
	"ours-t3":         {},
}

// testWorld is the machine in which a policy is judged: T2 needs two pages that
// applications may not have, and T1 is not saved by them.
func testWorld(p Policy, f Flood) World {
	w := World{Pages: GoldenPages, Policy: p, Flood: f}
	if p.Card > 0 && p.Guard {
		w.Watermark = 2
	}
	return w
}

func TestLineage(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Lineage() {
		seen[p.Name] = true
		want, ok := outcomes[p.Name]
		if !ok {
			t.Errorf("%s: this test does not know what is expected of it", p.Name)
		}
		if p.Title == "" || p.Source == "" || p.Right == "" {
			t.Errorf("%s does not say what it is, where it comes from, or what it got right", p.Name)
		}
		for _, f := range []Flood{Retained, ReadSoon, NoFlood} {
			v := testWorld(p, f).Search()
			if dies := v.Dead > 0; dies != want[f] || !dies && v.Stuck > 0 {
				t.Errorf("%s, flood %d: %d of %d states dead, %d stuck, want dead: %v (%s)",
					p.Name, f, v.Dead, v.States, v.Stuck, want[f], Ways(v.Way))
			}
		}
	}
	for name := range outcomes {
		if !seen[name] {
			t.Errorf("%s is not in the lineage", name)
		}
	}
}

// TestPagesAreConserved: no policy's steps make or lose a page, go below
// nothing, hold more than was set aside, or have outcomes whose probabilities
// exceed certainty.
func TestPagesAreConserved(t *testing.T) {
	for _, p := range Lineage() {
		for _, loss := range []bool{false, true} {
			w := testWorld(p, Retained)
			w.Loss = loss
			for _, s := range w.Graph().States {
				sum := int(s.Free) + int(s.pending()) + int(s.Card) + int(s.SentOrdinary)
				for _, n := range s.Ordinary {
					sum += int(n)
				}
				if want := w.Pages + p.Card; sum != want {
					t.Fatalf("%s: %d pages in %+v, want %d", p.Name, sum, s, want)
				}
				if s.Lost > s.Writing || w.awaited(s) < 0 {
					t.Fatalf("%s: more replies than requests in %+v", p.Name, s)
				}
				share := 0.0
				for _, tr := range w.Next(s) {
					if tr.Event == Replied {
						share += tr.Share
					}
				}
				if share > 1+1e-9 {
					t.Fatalf("%s: a reply arrives with probability %v in %+v", p.Name, share, s)
				}
			}
		}
	}
}

// TestNextIsAFunction of the state: asked again, in any order, it gives the
// same answer.
func TestNextIsAFunction(t *testing.T) {
	for _, p := range Lineage() {
		w := testWorld(p, Retained)
		states := w.Graph().States
		first := make([][]Transition, len(states))
		for i, s := range states {
			first[i] = w.Next(s)
		}
		for i := len(states) - 1; i >= 0; i-- {
			if !slices.Equal(w.Next(states[i]), first[i]) {
				t.Fatalf("%s: two answers for %+v", p.Name, states[i])
			}
		}
	}
}

// TestPhillipsHoldsMoreThanItSays when credit comes back to the device before
// the frame is consumed, and no more when it belongs to the frame.
func TestPhillipsHoldsMoreThanItSays(t *testing.T) {
	for name, exceeds := range map[string]bool{"phillips-posted": true, "phillips-device": true, "phillips": false} {
		p, ok := Find(name)
		if !ok {
			t.Fatalf("%s is not in the lineage", name)
		}
		if v := testWorld(p, Retained).Search(); v.MostHeld > p.Cap != exceeds {
			t.Errorf("%s holds %d of at most %d, exceeds: want %v", name, v.MostHeld, p.Cap, exceeds)
		}
	}
}

// TestPhillipsEstimates: 50 frames were to be 25, 50 and 200 pages, and the
// posted estimate gave one.
func TestPhillipsEstimates(t *testing.T) {
	for size, pages := range map[int]int{1500: 25, 2048: 50, 9018: 200} {
		if got := EstimateFixed(50, size); got != pages {
			t.Errorf("50 frames of %d: %d pages, want %d", size, got, pages)
		}
		if got := FramesIn(EstimateFixed(50, size), size); got < 50 {
			t.Errorf("in %d pages there is room for %d frames of %d", pages, got, size)
		}
	}
	if got := EstimateAsPosted(50); got != 1 {
		t.Errorf("as posted: %d pages, want 1", got)
	}
	if a, b := FramesIn(1, 1500), FramesIn(1, 9018); a != 2 || b != 0 {
		t.Errorf("one page has room for %d frames of 1500 and %d of 9018, want 2 and 0", a, b)
	}
}

// TestZijlstraOrders: as posted a page comes back after one order of frees of
// all n!, as fixed after each.
func TestZijlstraOrders(t *testing.T) {
	factorial := 1
	for n := 1; n <= 5; n++ {
		factorial *= n
		for _, anyOrder := range []bool{false, true} {
			want := 1
			if anyOrder {
				want = factorial
			}
			if got, all := (Grouped{Objects: n, AnyOrder: anyOrder}).FreeOrders(); got != want || all != factorial {
				t.Errorf("%d objects, any order %v: %d of %d, want %d of %d", n, anyOrder, got, all, want, factorial)
			}
		}
	}
}

// TestStories: every policy that can die says how, and why, in words.
func TestStories(t *testing.T) {
	for _, p := range Lineage() {
		v := testWorld(p, Retained).Search()
		var b strings.Builder
		if err := v.Story(&b); err != nil {
			t.Fatal(err)
		}
		story := b.String()
		if (v.Dead > 0) != strings.Contains(story, "dead  ") || strings.Contains(story, "%!") || strings.Contains(story, " 0 frames that") {
			t.Errorf("%s:\n%s", p.Name, story)
		}
	}
	var b strings.Builder
	p, _ := Find("miller")
	if err := (World{Pages: 4, Policy: p}).Search().Story(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Miller: a global limit on every socket, 4 pages: 216 states, 66 dead.
    1  Applications write to 1 page. (3 free, 1 dirty)
  2-4  3 foreign frames arrive and take memory that was set aside. (3 free, 1 dirty, 3 under foreign frames)
 dead  A reply that arrives is refused: the sockets hold as much as they may.
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestKeepingTheFrame: with memory set aside for sending, whether what was sent
// is kept makes no difference to what is dead. Without any, it does (I12): of
// requests that were all sent, a lost one can be repeated only if it was kept.
func TestKeepingTheFrame(t *testing.T) {
	for _, keep := range []bool{false, true} {
		w := World{Pages: GoldenPages, Loss: true, Policy: Policy{
			KeepSent: keep, Transmit: 1, Store: Shared(1), DropForeign: true,
		}}
		v := w.Search()
		if v.Dead > 0 || v.Stuck > 0 {
			t.Errorf("keep %v: %d dead, %d stuck: %s", keep, v.Dead, v.Stuck, Ways(v.Way))
		}
		w.Policy.Transmit = 0
		g := w.Graph()
		dead := 0
		for i, d := range g.Distances(Completed) {
			if s := g.States[i]; d < 0 && s.Dirty == 0 && s.Writing > 0 {
				dead++
			}
		}
		if (dead == 0) != keep {
			t.Errorf("keep %v, nothing set aside for sending: %d states dead with everything sent", keep, dead)
		}
	}
}

// TestLossByRandomPool: with eight frames in all and four foreign ones having
// arrived, the next reply is lost with these probabilities.
func TestLossByRandomPool(t *testing.T) {
	for _, c := range []struct {
		pools, foreign int
		want           string
	}{
		{1, 4, "0.000"}, {4, 4, "0.262"}, {8, 4, "0.414"},
		{1, 2, "0.000"}, {4, 2, "0.062"}, {8, 2, "0.234"},
		{1, 8, "1.000"}, {4, 8, "0.633"}, {8, 8, "0.656"},
	} {
		p := Pools{Count: c.pools, Frames: 8 / c.pools}
		if got := fmt.Sprintf("%.3f", LossOfNext(p, c.foreign)); got != c.want {
			t.Errorf("%d pools, %d foreign frames: %s, want %s", c.pools, c.foreign, got, c.want)
		}
		p.TryAll = true
		if got := LossOfNext(p, c.foreign); got > 1e-9 && c.foreign < 8 {
			t.Errorf("%d pools, %d foreign frames, trying all: %v, want 0", c.pools, c.foreign, got)
		}
	}
}
