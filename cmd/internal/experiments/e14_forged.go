package experiments

import (
	"context"
	"fmt"
)

// forged is E14.
func forged() Experiment {
	return Experiment{
		Name: "E14", Title: "Forged and stale frames", Seeds: true,
		Question: "A filter can be deceived: late copies of answers, and frames made to look like them, get as far as our own receive ring. What do they cost?",
		Setup: "The machine of E12 under ours at T3, without any other flood. Frames that look like ours until they are classified arrive at up to 1000 per round trip; " +
			"the ring is guaranteed 1, 2, 4 or 8 frames.",
		Hypothesis: "They never kill (I6). They slow us down once more arrive than are classified, 200 per round trip, and a larger guarantee moves that point.",
		Criterion:  "No dead or stuck state for any ring. With 10 per round trip at most 1.5 times the time without; with 1000, a ring of 8 is faster than a ring of 1.",
		run:        runForged,
	}
}

func runForged(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	policies, err := pick("ours-t3")
	if err != nil {
		return r.Result, err
	}
	t := Table{Title: "Round trips for each write, median (worst)", Columns: []string{"ring", "states", "dead", "none forged", "10", "100", "1000 per round trip"}}
	c := Chart{Title: "Time for a write under forged frames", X: "forged frames per round trip, + 1", Y: "round trips, median", LogX: true}
	last := map[int]float64{}
	for _, stock := range []int{1, 2, 4, 8} {
		terrain, err := crowded(policies[0], stock)
		if err != nil {
			return r.Result, err
		}
		v := terrain.World.Search()
		r.check(v.Dead == 0 && v.Stuck == 0, "a ring of %d: %d dead, %d stuck", stock, v.Dead, v.Stuck)
		line, row := Line{Name: fmt.Sprintf("ring of %d", stock)}, []string{fmt.Sprint(stock), fmt.Sprint(v.States), fmt.Sprint(v.Dead)}
		for _, forge := range []float64{0, 10, 100, 1000} {
			times, unfinished, err := timeWrites(ctx, terrain, crowd(0, forge), o)
			if err != nil {
				return r.Result, err
			}
			r.check(unfinished == 0, "a ring of %d, %v forged: %d seeds did not finish", stock, forge, unfinished)
			line.X, line.Y = append(line.X, forge+1), append(line.Y, median(times))
			row = append(row, fmt.Sprintf("%.2f (%.2f)", median(times), times[len(times)-1]))
		}
		r.check(line.Y[1] <= 1.5*line.Y[0], "a ring of %d: %.2f round trips with none forged, %.2f with 10", stock, line.Y[0], line.Y[1])
		last[stock] = line.Y[len(line.Y)-1]
		c.Lines, t.Rows = append(c.Lines, line), append(t.Rows, row)
	}
	r.check(last[8] < last[1], "with 1000 forged: %.2f round trips with a ring of 8, %.2f with a ring of 1", last[8], last[1])
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"A frame that deceives the filter takes a slot of the ring for as long as it takes to look at it, and nothing else: it is dropped there, and the ring has not shrunk.",
		"What is forged faster than it can be classified crowds out answers, whatever is reserved: that is denial of service, not deadlock, and it ends when it stops.",
	}
	return r.Result, nil
}
