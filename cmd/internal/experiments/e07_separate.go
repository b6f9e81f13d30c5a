package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

// separate is E7.
func separate() Experiment {
	return Experiment{
		Name: "E7", Title: "Separate memory, and limits",
		Question: "Is it enough to give the network memory of its own (Polyakov, 2006-08), or to limit what it may hold (Miller, 2006-08)?",
		Setup: "The machine of E2. The network's memory is separate from the system's: from 1 to 6 frames; with a limit on what sockets may hold, from none to 5; " +
			"and with the disk's own socket exempt from it or not.",
		Hypothesis: "Separate memory alone dies of unread sockets, however much there is. A limit that holds for every socket dies too. " +
			"A limit below the memory, with the critical socket exempt, lives.",
		Criterion: "Alive exactly where 0 < limit < frames and the disk's socket is exempt. In the lineage polyakov, polyakov-drain and miller die, miller-exempt lives.",
		run:       runSeparate,
	}
}

func runSeparate(ctx context.Context, _ Options) (Result, error) {
	var r inquiry
	chart := Chart{Title: "Limit with the disk's socket exempt: where it lives", X: "frames of separate memory", Y: "limit on what sockets hold"}
	t := Table{Title: "Dead states, by memory and limit", Columns: []string{"frames", "limit", "every socket", "disk's socket exempt"}}
	for frames := 1; frames <= 6; frames++ {
		if err := ctx.Err(); err != nil {
			return r.Result, err
		}
		for limit := 0; limit <= 5; limit++ {
			row := []string{fmt.Sprint(frames), fmt.Sprint(limit)}
			if limit == 0 {
				row[1] = "none"
			}
			for _, exempt := range []bool{false, true} {
				p := model.Policy{Transmit: 1, Order: model.SetAsideOnly, Store: model.Shared(frames), Limit: limit, Exempt: exempt}
				v := model.World{Pages: model.GoldenPages, Policy: p}.Search()
				row = append(row, fmt.Sprint(v.Dead))
				lives, want := v.Dead == 0 && v.Stuck == 0, exempt && limit > 0 && limit < frames
				r.check(lives == want, "%d frames, limit %d, exempt %v: lives %v", frames, limit, exempt, lives)
				if exempt && limit > 0 {
					chart.Fields = append(chart.Fields, Square{float64(frames), float64(limit), lives})
				}
			}
			t.Rows = append(t.Rows, row)
		}
	}
	verdicts, err := searchThese(model.Retained, "polyakov", "polyakov-drain", "miller", "miller-exempt")
	if err != nil {
		return r.Result, err
	}
	r.checks += len(verdicts)
	r.Differs = append(r.Differs, expect(verdicts, func(n string) bool { return n != "miller-exempt" })...)
	table, _ := searched("The lineage", verdicts)
	r.Tables, r.Charts = []Table{table, t}, []Chart{chart}
	r.judge()
	r.Finding = []string{
		"Memory of its own moves the deadlock from the system's memory to the network's: sockets that nobody reads fill it, whatever its size. " +
			"What saves is the limit, and only if the limit leaves room for a frame that is not yet classified and lets the disk's own frames pass.",
		"As posted, memory that another processor freed comes back with the owner's next free: if everything was freed elsewhere, there is no next free, and not even reading the sockets helps (E3).",
	}
	r.Stories, err = stories(verdicts, "polyakov-drain", "miller")
	return r.Result, err
}
