package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

// keptFrame is E11.
func keptFrame() Experiment {
	return Experiment{
		Name: "E11", Title: "The sent frame, kept or not, under loss",
		Question: "The link loses requests and replies. Must what was sent be kept until it is answered (I12)?",
		Setup: "The machine of E2 on a link that loses anything at any time. With no, one, two or four frames set aside for sending, " +
			"used for a moment and built anew, or kept until answered.",
		Hypothesis: "Without keeping, a lost request may be beyond repeating, and the machine dies; with it, never.",
		Criterion:  "Dead states without keeping, none with it, at each number of frames above none.",
		run:        runKept,
	}
}

func runKept(context.Context, Options) (Result, error) {
	var r inquiry
	t := Table{
		Title:   "Under loss",
		Columns: []string{"set aside for sending", "kept", "states", "dead", "dead with everything sent", "most steps to a completion"},
	}
	c := Chart{Title: t.Title, X: "dead states, % of those reached"}
	for _, transmit := range []int{0, 1, 2, 4} {
		for _, keep := range []bool{false, true} {
			p := model.Policy{KeepSent: keep, Transmit: transmit, Store: model.Shared(1), DropForeign: true}
			w := model.World{Pages: model.GoldenPages, Policy: p, Loss: true}
			v := w.Search()
			t.Rows = append(t.Rows, []string{fmt.Sprint(transmit), yes(keep), fmt.Sprint(v.States), fmt.Sprint(v.Dead), fmt.Sprint(deadWithAllSent(w)), fmt.Sprint(v.Farthest)})
			how := "built anew"
			if keep {
				how = "kept"
			}
			c.Bars = append(c.Bars, Bar{fmt.Sprintf("%d to send, %s", transmit, how), 100 * float64(v.Dead) / float64(v.States), v.Dead == 0})
			if transmit == 0 {
				continue
			}
			r.check((v.Dead == 0) == keep, "%d set aside, kept %v: %d dead states", transmit, keep, v.Dead)
		}
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"With memory set aside for sending that is used for a moment only, a lost request can be built again, because its page is still there: keeping the frame makes no difference to deadlock. " +
			"Where nothing is set aside it does: then of requests that are all out, a lost one can be repeated only if it was kept.",
		"So I12 is not needed for liveness where there is a transmit reserve. It is kept for what this model has not: a page that the initiator cannot read any more, because it lies in memory that may itself " +
			"be swapped out, and a retransmission that needs neither memory nor anybody's data.",
	}
	return r.Result, nil
}

// deadWithAllSent counts dead states in which no page waits to be sent.
func deadWithAllSent(w model.World) int {
	g := w.Graph()
	n := 0
	for i, d := range g.Distances(model.Completed) {
		if s := g.States[i]; d < 0 && s.Dirty == 0 && s.Writing > 0 {
			n++
		}
	}
	return n
}
