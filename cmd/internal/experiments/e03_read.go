package experiments

import (
	"context"
	"strconv"

	"aoe/reserve/model"
)

// readFlood is E3.
func readFlood() Experiment {
	return Experiment{
		Name: "E3", Title: "The same flood, to readers",
		Question: "Is it the traffic that kills, or that frames are kept?",
		Setup:    "E2, but whoever owns the sockets reads them. Nothing else is changed.",
		Hypothesis: "Retention is the cause: every policy that dies in E2 and not in E1 lives here. " +
			"What dies without any flood dies here too.",
		Criterion: "A policy has dead states in E3 if and only if it has some in E1.",
		run: func(ctx context.Context, _ Options) (Result, error) {
			read, err := survey(ctx, model.ReadSoon)
			if err != nil {
				return Result{}, err
			}
			quiet, err := survey(ctx, model.NoFlood)
			if err != nil {
				return Result{}, err
			}
			unread, err := survey(ctx, model.Retained)
			if err != nil {
				return Result{}, err
			}
			dies := map[string]bool{}
			for _, v := range quiet {
				dies[v.World.Policy.Name] = v.Dead > 0
			}
			r := Result{Differs: expect(read, func(n string) bool { return dies[n] })}
			r.Verdict = judge(r.Differs, len(read))
			table, chart := searched("A flood into sockets that are read", read)
			table.Columns = []string{"policy", "states", "dead", "shortest way to die", "dead if nobody reads"}
			for i := range table.Rows {
				table.Rows[i] = append(table.Rows[i], strconv.Itoa(unread[i].Dead))
			}
			r.Tables, r.Charts = []Table{table}, []Chart{chart}
			r.Finding = []string{
				"Same frames, same number, same moments: what was dead in E2 for the flood's sake lives as soon as somebody reads. " +
					"A test flood that nobody keeps proves nothing about deadlock; that is why every flood of this lab also goes to sockets that nobody reads.",
			}
			r.Stories, err = stories(read, "polyakov")
			return r, err
		},
	}
}
