package experiments

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"aoe/reserve/model"
)

const sharedFrames = 8 // in all, however they are divided

// pools is E4.
func pools() Experiment {
	return Experiment{
		Name: "E4", Title: "One shared reserve against k private ones", Seeds: true,
		Question: "A frame's socket is not known before the frame has been received. Is one reserve better than one for each socket, picked by chance?",
		Setup: fmt.Sprintf("%d frames in all, as 1, 2, 4 or 8 pools. Foreign frames arrive and are not classified yet; then a reply. "+
			"Its loss is computed exactly from the step function's own probabilities, and simulated.", sharedFrames),
		Hypothesis: "With 4 frames unclassified the next reply is lost with probability 0, .26 and .41 for 1, 4 and 8 pools. " +
			"Trying all pools is as good as one reserve.",
		Criterion: "The exact values to two digits; the simulation within four standard errors; 0 when all are tried and there is room.",
		run:       runPools,
	}
}

func runPools(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Probability that the next reply is lost", Columns: []string{"foreign frames", "1 pool", "2 pools", "4 pools", "8 pools", "8 pools, simulated", "8 pools, all tried"}}
	c := Chart{Title: t.Title, X: "foreign frames not yet classified", Y: "probability"}
	for _, k := range []int{1, 2, 4, 8} {
		c.Lines = append(c.Lines, Line{Name: fmt.Sprintf("%d x %d frames", k, sharedFrames/k)})
	}
	throws := max(20000, 100*o.Seeds)
	for u := 0; u <= sharedFrames; u++ {
		if err := ctx.Err(); err != nil {
			return r.Result, err
		}
		row := []string{fmt.Sprint(u)}
		exact := 0.0
		for i, k := range []int{1, 2, 4, 8} {
			exact = model.LossOfNext(model.Pools{Count: k, Frames: sharedFrames / k}, u)
			row = append(row, fmt.Sprintf("%.3f", exact))
			c.Lines[i].X, c.Lines[i].Y = append(c.Lines[i].X, float64(u)), append(c.Lines[i].Y, exact)
			want, known := map[int]string{1: "0.00", 4: "0.26", 8: "0.41"}[k]
			if u == 4 && known {
				r.check(fmt.Sprintf("%.2f", exact) == want, "%d pools, 4 frames: %.3f, expected %s", k, exact, want)
			}
		}
		seen := simulatedLoss(o.First, u, throws)
		sigma := math.Sqrt(exact*(1-exact)/float64(throws)) + 1e-9
		r.check(math.Abs(seen-exact) <= 4*sigma+1e-6, "%d frames, 8 pools: simulated %.3f, exact %.3f", u, seen, exact)
		all := model.LossOfNext(model.Pools{Count: 8, Frames: 1, TryAll: true}, u)
		r.check(u == sharedFrames || all < 1e-9, "%d frames, all pools tried: %.3f", u, all)
		t.Rows = append(t.Rows, append(row, fmt.Sprintf("%.3f", seen), fmt.Sprintf("%.3f", max(0, all))))
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"Divided memory is lost in pieces: while one pool is full another is empty. It is not a matter of deadlock, as a lost reply is asked for again (E2 has no dead state for either), " +
			"but of how often. The reserve here is one for all, and has no private caches for the same reason (E10).",
		"Eight frames in eight pools are worse than one pool only until all memory is used up: then the shared reserve is full for certain, and a random pool is not.",
	}
	return r.Result, nil
}

// simulatedLoss throws foreign frames at eight pools of one frame, and then a
// reply, many times: the plain way, that knows nothing of the model.
func simulatedLoss(seed uint64, foreign, throws int) float64 {
	rng := rand.New(rand.NewPCG(seed, uint64(foreign)))
	lost := 0
	for range throws {
		var used [sharedFrames]bool
		for range foreign {
			used[rng.IntN(sharedFrames)] = true
		}
		if used[rng.IntN(sharedFrames)] {
			lost++
		}
	}
	return float64(lost) / float64(throws)
}
