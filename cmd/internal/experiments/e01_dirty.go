package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

// allDirty is E1.
func allDirty() Experiment {
	return Experiment{
		Name: "E1", Title: "All memory dirty",
		Question: "If every page is dirty and nobody else uses the network, which policies can still write one?",
		Setup: fmt.Sprintf("A machine of %d pages whose disk is on the network. Applications may make every page dirty. "+
			"There are no foreign frames. Every state is visited.", model.GoldenPages),
		Hypothesis: "Whatever lacks memory set aside for sending or for receiving dies; whatever limits how much may be dirty lives; " +
			"whatever sets aside both lives, whoever it is from.",
		Criterion: "No dead state but under: none, mempool, phillips-jumbo, zijlstra-posted, linux-aoe.",
		run: func(ctx context.Context, _ Options) (Result, error) {
			verdicts, err := survey(ctx, model.NoFlood)
			if err != nil {
				return Result{}, err
			}
			expected := map[string]bool{"none": true, "mempool": true, "phillips-jumbo": true, "zijlstra-posted": true, "linux-aoe": true}
			r := Result{Differs: expect(verdicts, func(n string) bool { return expected[n] })}
			r.Verdict = judge(r.Differs, len(verdicts))
			table, chart := searched("No foreign frames", verdicts)
			r.Tables, r.Charts = []Table{table}, []Chart{chart}
			r.Finding = []string{
				"A transmit reserve alone does not help: the write goes out, and the answer finds no room. A limit on dirty pages is enough only while nobody else uses memory.",
				"Memory can also be lost without any flood, by the way it is given back: as posted, grouped pages leak by the order of frees, and " +
					"a processor's own allocator starves when everything that it lent was freed elsewhere.",
			}
			r.Stories, err = stories(verdicts, "none", "polyakov", "ours-t1")
			return r, err
		},
	}
}
