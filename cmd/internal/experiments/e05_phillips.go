package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

const phillipsFrames = 50 // the cap that was posted

// phillips is E5.
func phillips() Experiment {
	return Experiment{
		Name: "E5", Title: "A sized reserve with a cap, as posted and as fixed",
		Question: "Phillips' patch of 2005-08 sized the reserve from frames and frame size, capped what an interface may use, and gave credit back to the device. What was wrong with it?",
		Setup: fmt.Sprintf("The estimate for %d frames of three sizes. Then the machine of E2 with a cap of one frame: with the memory of the posted estimate at two "+
			"frame sizes, with enough memory, and with credit that belongs to the frame.", phillipsFrames),
		Hypothesis: "The posted estimate gives one page whatever the size, so that the machine dies; fixed it gives 25, 50 and 200 pages. " +
			"With credit per device more is held than the cap; with credit per frame, never.",
		Criterion: "Those numbers; phillips-posted and phillips-jumbo have dead states; phillips-posted and phillips-device hold more than the cap; phillips does neither.",
		run:       runPhillips,
	}
}

func runPhillips(context.Context, Options) (Result, error) {
	var r inquiry
	estimate := Table{
		Title:   fmt.Sprintf("Pages for %d frames", phillipsFrames),
		Columns: []string{"frame size", "as posted", "frames that really fit", "as fixed", "frames that really fit"},
	}
	want := map[int]int{1500: 25, 2048: 50, 9018: 200}
	for _, size := range []int{1500, 2048, 9018} {
		posted, fixed := model.EstimateAsPosted(phillipsFrames), model.EstimateFixed(phillipsFrames, size)
		estimate.Rows = append(estimate.Rows, []string{
			fmt.Sprint(size), fmt.Sprint(posted), fmt.Sprint(model.FramesIn(posted, size)), fmt.Sprint(fixed), fmt.Sprint(model.FramesIn(fixed, size)),
		})
		r.check(posted == 1 && fixed == want[size], "frames of %d: %d pages as posted, %d as fixed, expected 1 and %d", size, posted, fixed, want[size])
	}
	names := []string{"phillips-posted", "phillips-jumbo", "phillips-device", "phillips"}
	verdicts, err := searchThese(model.Retained, names...)
	if err != nil {
		return r.Result, err
	}
	table, chart := searched("Under the flood of E2", verdicts)
	table.Columns = append(table.Columns, "held at most", "cap")
	dies := map[string]bool{"phillips-posted": true, "phillips-jumbo": true}
	exceeds := map[string]bool{"phillips-posted": true, "phillips-device": true}
	for i, v := range verdicts {
		p := v.World.Policy
		table.Rows[i] = append(table.Rows[i], fmt.Sprint(v.MostHeld), fmt.Sprint(p.Cap))
		r.check((v.MostHeld > p.Cap) == exceeds[p.Name], "%s holds %d of a cap of %d", p.Name, v.MostHeld, p.Cap)
		r.check((v.Dead > 0) == dies[p.Name], "%s: %d dead states, expected some: %v", p.Name, v.Dead, dies[p.Name])
	}
	r.Tables, r.Charts = []Table{estimate, table}, []Chart{chart}
	r.judge()
	r.Finding = []string{
		"The slip in the estimate is fatal only for large frames: one page holds two frames of 1500 bytes, which is all that liveness needs, and not one of 9018.",
		"Credit that comes back before the memory does breaks the promise and not the machine: what is held beyond the cap belongs to somebody else's reserve, until it is consumed. " +
			"The reserve here frees first and then gives the credit back (I8).",
	}
	r.Stories, err = stories(verdicts, "phillips-jumbo")
	return r.Result, err
}
