package experiments

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"aoe/reserve/model"
)

const (
	crowdedPages   = 6
	crowdedBuffers = 2   // of these, what sockets hold
	crowdedDirty   = 2e3 // whatever is free is dirty within 1/2000 of a round trip
	crowdedWrites  = 20
	crowdedLimit   = 20000 // round trips, before a walk is given up
	crowdedClaims  = 4     // writes at once
)

// crowd is the walks' rates in a machine that is out of memory for good.
func crowd(flood, forge float64) model.Rates {
	r := pace(flood)
	r.Dirty, r.Forge = crowdedDirty, forge
	return r
}

// recovery is E12.
func recovery() Experiment {
	return Experiment{
		Name: "E12", Title: "Time to recovery against the rate of the flood", Seeds: true,
		Question: "A policy without dead states may still be slow. How long does a write take in a machine that is out of memory for good, while the flood goes on?",
		Setup: fmt.Sprintf("A machine of %d pages, of which unread sockets hold at most %d; applications take every page the moment it is clean. "+
			"A frame is classified in 1/200 of a round trip. The time that %d writes take, after a warm-up of 10 round trips: the median over the seeds, and the worst.",
			crowdedPages, crowdedBuffers, crowdedWrites),
		Hypothesis: "What classifies before it takes memory, and ours, need a time that does not depend on the flood. What receives any frame into its reserve gets slower with it.",
		Criterion: "The median with 1000 frames per round trip is at most twice that without a flood for card-filter, ours-t2 and ours-t3, and more for the others. " +
			"No seed fails to finish.",
		run: runRecovery,
	}
}

func runRecovery(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	floods := []float64{0, 1, 10, 100, 1000}
	flat := map[string]bool{"card-filter": true, "ours-t2": true, "ours-t3": true}
	policies, err := pick("wiki", "linux-listed", "phillips", "zijlstra", "miller-exempt", "upfront", "card-filter", "ours-t2", "ours-t3")
	if err != nil {
		return r.Result, err
	}
	t := Table{Title: "Round trips for each write, median (worst)", Columns: []string{"policy", "no flood", "1", "10", "100", "1000 frames per round trip"}}
	c := Chart{Title: "Time for a write in a machine without memory", X: "foreign frames per round trip, + 1", Y: "round trips, median", LogX: true}
	for _, p := range policies {
		terrain, err := crowded(p, 1)
		if err != nil {
			return r.Result, err
		}
		line, row := Line{Name: p.Name}, []string{title(p)}
		for _, flood := range floods {
			times, unfinished, err := timeWrites(ctx, terrain, crowd(flood, 0), o)
			if err != nil {
				return r.Result, err
			}
			r.check(unfinished == 0, "%s with %v frames: %d seeds did not finish", p.Name, flood, unfinished)
			line.X, line.Y = append(line.X, flood+1), append(line.Y, median(times))
			row = append(row, fmt.Sprintf("%.2f (%.2f)", median(times), times[len(times)-1]))
		}
		first, last := line.Y[0], line.Y[len(line.Y)-1]
		r.check((last <= 2*first) == flat[p.Name], "%s: %.2f round trips without a flood, %.2f with 1000 frames in each", p.Name, first, last)
		c.Lines = append(c.Lines, line)
		t.Rows = append(t.Rows, row)
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"All of these live; what differs is what a foreign frame costs. Where it may take the reserve until it has been looked at, it keeps replies out for that long, " +
			"and a reply that is lost costs a round trip more: at 1000 frames five times as much arrives as can be looked at, and a write takes some seven times as long.",
		"Filtering first is flat whoever does it: the card (2005), the driver, or a queue of its own.",
	}
	return r.Result, nil
}

// crowded is the terrain of a policy for a machine that is out of memory. Those
// that take claims take them for as many writes as the others may have.
func crowded(p model.Policy, stock int) (*model.Terrain, error) {
	if p.Claim > 0 {
		p.Claim = crowdedClaims
	}
	if _, ours := p.Store.(model.Admitter); ours {
		store, err := model.NewOurs(model.OursConfig{Reserve: 2*crowdedClaims + stock, Stock: stock, Requests: crowdedPages + 1})
		if err != nil {
			return nil, err
		}
		p.Store = store
	}
	w := worldOf(p, model.Retained)
	w.Pages, w.Buffers = crowdedPages, crowdedBuffers
	return w.Survey(), nil
}

// timeWrites is the sorted times for a write of all seeds, and how many walks
// were given up.
func timeWrites(ctx context.Context, t *model.Terrain, rates model.Rates, o Options) (times []float64, unfinished int, err error) {
	stream := math.Float64bits(rates.Flood + 7*rates.Forge)
	clocks := t.Clocks(rates)
	for i := range o.Seeds {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		walk := t.Walk(rand.New(rand.NewPCG(o.First+uint64(i), stream)))
		walk.Until(clocks, 10, func(model.State) bool { return false })
		begin, already := walk.Time, walk.Completions
		if !walk.Until(clocks, crowdedLimit, func(model.State) bool { return walk.Completions >= already+crowdedWrites }) {
			unfinished++
		}
		times = append(times, (walk.Time-begin)/crowdedWrites)
	}
	slices.Sort(times)
	return times, unfinished, nil
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }
