package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

// phases is E10.
func phases() Experiment {
	return Experiment{
		Name: "E10", Title: "The phase diagram of minimal reserves",
		Question: "What is the least that must be set aside, and of what does it depend?",
		Setup: "The search is repeated while what is set aside grows, until nothing is dead: over frames for sending and for receiving, with and without the early drop; over N requests " +
			"of m buffers, claimed at once or one by one; over threads with caches; over writes and unclassified frames; and over pages that applications may not have.",
		Hypothesis: "1 to send + 1 to receive + the drop. Claims at once need m, one by one N(m-1)+1; private caches (P-1)c more. " +
			"No reply is ever lost with as many receive frames as claims and unclassified frames together. Ours needs no page kept from applications.",
		Criterion: "Each bound is found by the search, for every size tried, and is the one that docs/RESERVE.md derives.",
		run:       runPhases,
	}
}

// A bounds is the inquiry of E10, part by part.
type bounds struct{ inquiry }

func runPhases(ctx context.Context, _ Options) (Result, error) {
	var b bounds
	for _, part := range []func(){b.liveness, b.claims, b.caches, b.noLoss, b.keptBack} {
		if err := ctx.Err(); err != nil {
			return b.Result, err
		}
		part()
	}
	b.judge()
	b.Finding = []string{
		"The diagram has one corner: everything with at least one frame to send with, one to receive into, and the drop lives, and nothing else does, however large.",
		"Holding one thing while waiting for the next costs a reserve that grows with the number of requests; claiming all at once costs one that does not.",
		"The last table is what package reserve alone cannot give: below T3 the kernel takes pages too. Without the guard no number of pages kept from applications is enough, because the flood may take them; " +
			"with it two are, which is what vm.min_free_kbytes is for. With one page left, the guest's guard in docs/GUEST.md opened for three moments and the machine died.",
	}
	return b.Result, nil
}

func (b *bounds) liveness() {
	t := Table{Title: "Lives with so much set aside", Columns: []string{"to receive", "drop", "0 to send", "1 to send", "2 to send", "3 to send"}}
	withDrop := Chart{Title: "With the early drop: where it lives", X: "frames to send with", Y: "frames to receive into"}
	without := Chart{Title: "Without the early drop", X: withDrop.X, Y: withDrop.Y}
	for receive := range 4 {
		for _, drop := range []bool{false, true} {
			row := []string{fmt.Sprint(receive), yes(drop)}
			for transmit := range 4 {
				lives := model.SetAside{Transmit: transmit, Receive: receive, Drop: drop}.Lives(model.GoldenPages)
				b.check(lives == (transmit > 0 && receive > 0 && drop), "%d to send, %d to receive, drop %v: lives %v", transmit, receive, drop, lives)
				row = append(row, yes(lives))
				sq := Square{float64(transmit), float64(receive), lives}
				if drop {
					withDrop.Fields = append(withDrop.Fields, sq)
				} else {
					without.Fields = append(without.Fields, sq)
				}
			}
			t.Rows = append(t.Rows, row)
		}
	}
	b.Tables = append(b.Tables, t)
	b.Charts = append(b.Charts, withDrop, without)
}

func (b *bounds) claims() {
	t := Table{Title: "Least capacity for N requests of m buffers", Columns: []string{"m", "N", "at once", "one by one", "N(m-1)+1"}}
	c := Chart{Title: "Least capacity for requests of 3 buffers", X: "requests at once, N", Y: "buffers"}
	once, single := Line{Name: "claimed at once"}, Line{Name: "claimed one by one"}
	for m := 1; m <= 4; m++ {
		for n := 1; n <= 5; n++ {
			cl := model.Claims{Requests: n, Units: m}
			oneByOne, derived := cl.LeastCapacity(), n*(m-1)+1
			cl.AllAtOnce = true
			atOnce := cl.LeastCapacity()
			b.check(atOnce == m && oneByOne == derived, "%d requests of %d: %d at once, %d one by one", n, m, atOnce, oneByOne)
			t.Rows = append(t.Rows, []string{fmt.Sprint(m), fmt.Sprint(n), fmt.Sprint(atOnce), fmt.Sprint(oneByOne), fmt.Sprint(derived)})
			if m == 3 {
				once.X, once.Y = append(once.X, float64(n)), append(once.Y, float64(atOnce))
				single.X, single.Y = append(single.X, float64(n)), append(single.Y, float64(oneByOne))
			}
		}
	}
	c.Lines = []Line{single, once}
	b.Tables, b.Charts = append(b.Tables, t), append(b.Charts, c)
}

func (b *bounds) caches() {
	t := Table{Title: "Least capacity with a cache for each thread", Columns: []string{"threads P", "cache c", "needed m", "found", "m+(P-1)c"}}
	for p := 1; p <= 4; p++ {
		for c := 0; c <= 2; c++ {
			for m := 1; m <= 2; m++ {
				found, derived := model.Caches{Threads: p, Cache: c, Units: m}.LeastCapacity(), m+(p-1)*c
				b.check(found == derived, "%d threads, caches of %d, %d needed: %d", p, c, m, found)
				t.Rows = append(t.Rows, []string{fmt.Sprint(p), fmt.Sprint(c), fmt.Sprint(m), fmt.Sprint(found), fmt.Sprint(derived)})
			}
		}
	}
	b.Tables = append(b.Tables, t)
}

func (b *bounds) noLoss() {
	t := Table{Title: "Receive frames with which no reply is ever lost", Columns: []string{"writes at once", "0 unclassified", "1 unclassified", "2 unclassified", "3 unclassified"}}
	for n := 1; n <= 4; n++ {
		row := []string{fmt.Sprint(n)}
		for u := range 4 {
			found := model.LeastForNoLoss(n, u)
			b.check(found == n+u, "%d writes, %d unclassified: %d", n, u, found)
			row = append(row, fmt.Sprint(found))
		}
		t.Rows = append(t.Rows, row)
	}
	b.Tables = append(b.Tables, t)
}

func (b *bounds) keptBack() {
	t := Table{Title: "Pages that must be kept from applications", Columns: []string{"policy", "machine of 4 pages", "machine of 6 pages"}}
	policies := append([]model.Policy{{Name: "none", Title: "no reserve"}}, model.OursInTiers()...)
	for _, p := range policies {
		row := []string{p.Title}
		for _, pages := range []int{4, 6} {
			n := model.LeastWatermark(p, pages)
			if p.Name != "none" {
				b.check(n == 0, "%s needs %s kept from applications, in a machine of %d pages", p.Name, enough(n), pages)
			}
			row = append(row, enough(n))
		}
		t.Rows = append(t.Rows, row)
	}
	b.Tables = append(b.Tables, t)
}

func enough(n int) string {
	switch n {
	case -1:
		return "more than there are"
	case 0:
		return "none"
	}
	return fmt.Sprint(n)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
