package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

// ablation removes one mechanism of ours at a time.
func ablation() Experiment {
	return Experiment{
		Name: "ablation", Title: "Ours, with one mechanism removed at a time",
		Question: "Is every mechanism of ours needed, and for what?",
		Setup: "The machine of E2 under ours at T3 or T2; and under a policy that is the same but for one thing. What is about several requests or threads is searched in a small " +
			"world of its own: two requests of two buffers, two threads.",
		Hypothesis: "Without any one of them something is dead.",
		Criterion:  "Dead or stuck states in every row but the first two.",
		run:        runAblation,
	}
}

// A removal is one row of the ablation.
type removal struct {
	what, left, shows string
	dead, stuck       int
}

func runAblation(context.Context, Options) (Result, error) {
	var r Result
	rows, err := removals()
	if err != nil {
		return r, err
	}
	t := Table{Title: "What is removed, and what then dies", Columns: []string{"removed", "what is left", "shown by", "dead", "stuck"}}
	c := Chart{Title: "States from which no write completes by itself", X: "states"}
	for i, row := range rows {
		t.Rows = append(t.Rows, []string{row.what, row.left, row.shows, fmt.Sprint(row.dead), fmt.Sprint(row.stuck)})
		c.Bars = append(c.Bars, Bar{row.what, float64(row.stuck), row.stuck == 0})
		switch complete := i < 2; {
		case complete && row.stuck > 0:
			r.Differs = append(r.Differs, fmt.Sprintf("%s: %d states are dead or stuck", row.left, row.stuck))
		case !complete && row.stuck == 0:
			r.Differs = append(r.Differs, fmt.Sprintf("without %s nothing is dead or stuck", row.what))
		}
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.Verdict = judge(r.Differs, len(rows))
	r.Finding = []string{
		"Two mechanisms are not about deadlock in this model, and are there for other reasons. Filtering before memory is taken: without it the machine lives and is slow (E12). Keeping the sent frame: " +
			"without it a lost request is built again from its page, which the model takes to be readable (E11).",
		"Exchange is needed as soon as a request has more than one frame: without it the first answers would stay in the ring until the last has come, and the ring would be claimed one by one.",
	}
	return r, nil
}

func removals() ([]removal, error) {
	tiers, err := pick("ours-t3", "ours-t2", "ours-t1")
	if err != nil {
		return nil, err
	}
	var rows []removal
	add := func(what, left, shows string, w model.World) {
		v := w.Search()
		rows = append(rows, removal{what, left, shows, v.Dead, v.Stuck})
	}
	plain := func(p model.Policy) model.World { return model.World{Pages: model.GoldenPages, Policy: p} }
	guardedWith := func(n int) model.World {
		w := plain(tiers[1])
		w.Watermark = n
		return w
	}
	add("nothing", tiers[0].Title, "E2", plain(tiers[0]))
	add("nothing (T2)", tiers[1].Title+", 2 pages kept back", "E2", guardedWith(2))
	add("memory for sending", "filter, 1 frame to receive into", "E10", plain(model.Policy{Order: model.FilterFirst, Store: model.Shared(1)}))
	add("memory for receiving", "filter, 1 frame to send with", "E10", plain(model.Policy{Order: model.FilterFirst, Transmit: 1}))
	add("drop at once", "a deceived filter, 1 frame each", "E10, E14", plain(model.Policy{Order: model.Own, Transmit: 1, Store: model.Shared(1)}))
	add("the guard", "T1, 2 pages kept back", "E2, E10", model.World{Pages: model.GoldenPages, Policy: tiers[2], Watermark: 2})
	add("pages kept back", "T2, none kept back", "E10", guardedWith(0))
	add("one page kept back", "T2, 1 page kept back", "E10", guardedWith(1))

	oneByOne := model.Claims{Requests: 2, Units: 2, Capacity: 2}.Dead()
	rows = append(rows, removal{"claims at once", "2 buffers, claimed one by one", "E10", oneByOne, oneByOne})
	// The slots of the ring are what is claimed one by one then.
	ring := model.Claims{Requests: 2, Units: 2, Capacity: 2}.Dead()
	rows = append(rows, removal{"exchange", "a ring of 2 keeps answers until the last", "E10", ring, ring})
	caches := model.Caches{Threads: 2, Cache: 1, Units: 1, Capacity: 1}.Dead()
	rows = append(rows, removal{"the ban on private caches", "2 threads with a cache of 1", "E10", caches, caches})
	add("keeping the sent frame", "built again when lost", "E11", model.World{
		Pages: model.GoldenPages, Loss: true,
		Policy: model.Policy{Order: model.FilterFirst, Transmit: 1, Store: model.Shared(1)},
	})
	add("the filter", "any frame received into the reserve, dropped when foreign", "E12", plain(model.Policy{Transmit: 1, Store: model.Shared(1), DropForeign: true}))
	return rows, nil
}
