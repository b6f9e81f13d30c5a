package experiments

import (
	"context"
	"fmt"
	"strings"

	"aoe/reserve/model"
)

// unreadFlood is E2.
func unreadFlood() Experiment {
	return Experiment{
		Name: "E2", Title: "A flood into sockets that nobody reads",
		Question: "What if foreign frames also arrive, and lie in sockets that are never read?",
		Setup: fmt.Sprintf("The machine of E1, %d pages. A foreign frame may arrive at any time; if it finds memory it is put into a socket that nobody "+
			"reads. Every state is visited, and compared with the table that the design was built on.", model.GoldenPages),
		Hypothesis: "One frame set aside for sending, one for receiving, and the early drop of what is foreign are enough. " +
			"Take away any one, or leave the drop to a limit that holds for the disk's own socket too, and the machine can die. Throttling only makes it rarer.",
		Criterion: "The golden table is reproduced exactly; dead are none, throttle-1, throttle-2, mempool, phillips-jumbo, zijlstra-posted, polyakov, " +
			"polyakov-drain, miller, linux-aoe, ours-t1, and no other.",
		run: runUnread,
	}
}

func runUnread(ctx context.Context, _ Options) (Result, error) {
	verdicts, err := survey(ctx, model.Retained)
	if err != nil {
		return Result{}, err
	}
	dead := "none throttle-1 throttle-2 mempool phillips-jumbo zijlstra-posted polyakov polyakov-drain miller linux-aoe ours-t1"
	expected := map[string]bool{}
	for _, n := range strings.Fields(dead) {
		expected[n] = true
	}
	r := Result{Differs: expect(verdicts, func(n string) bool { return expected[n] })}
	golden, wrong := goldenTable()
	r.Differs = append(r.Differs, wrong...)
	r.Verdict = judge(r.Differs, len(verdicts))
	table, chart := searched("A flood into unread sockets", verdicts)
	r.Tables, r.Charts = []Table{golden, table}, []Chart{chart}
	r.Finding = []string{
		"The danger is retention: not one of these machines dies of the number of frames, each dies of frames that stay.",
		"Our own tiers differ by what the kernel does below us. With a mapped ring and no guard (T1) nothing of ours waits, and the machine dies all the same, of " +
			"the card's pages: that is what the guest of docs/GUEST.md showed. With the guard (T2) it lives if two pages are kept from applications, one to send with and " +
			"one for the card; with one, or none, it does not (E10). With a queue of our own (T3) it needs nobody's memory.",
	}
	r.Stories, err = stories(verdicts, "none", "mempool", "throttle-1", "miller", "zijlstra-posted", "linux-aoe", "ours-t1")
	return r, err
}

// goldenTable searches the golden rows again, and says where they differ.
func goldenTable() (Table, []string) {
	t := Table{Title: "The golden table", Columns: []string{"policy", "states", "dead", "shortest way to die", "as in the design"}}
	var wrong []string
	for _, row := range model.Golden() {
		v := model.World{Pages: model.GoldenPages, Policy: row.Policy}.Search()
		same := "yes"
		if v.States != row.States || v.Dead != row.Dead || model.Ways(v.Way) != row.Way {
			same = "no"
			wrong = append(wrong, fmt.Sprintf("%s: %d states and %d dead, the design has %d and %d", row.Policy.Title, v.States, v.Dead, row.States, row.Dead))
		}
		t.Rows = append(t.Rows, []string{row.Policy.Title, fmt.Sprint(v.States), fmt.Sprint(v.Dead), model.Ways(v.Way), same})
	}
	return t, wrong
}
