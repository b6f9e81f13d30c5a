package experiments

import (
	"context"
	"fmt"
	"time"

	"aoe/cmd/internal/machine"
)

// soak is E18.
func soak() Experiment {
	return Experiment{
		Name: "E18", Title: "The soak", Seeds: true,
		Question: "Seeds are short lives. Does a machine that lives for long grow, slow down or lose anything?",
		Setup: "The machine of \"seeds\", four of them at T3 and four at T2, each for five rounds for every seed asked for. A round is 30 ms of faults and then a rest: the network loses nothing more, the flood goes on, all must be written. " +
			"Then the sockets that nobody reads are closed, or the flood would leave no memory to live in, and everything that could be held is looked at. The rounds are told in ten parts.",
		Hypothesis: "All is flat: at rest nothing is held, and the last part is as the first.",
		Criterion: "At every rest: no page is missing, no buffer granted, no claim waits, no frame is in flight, and the disk holds what was acknowledged. The last part has within a fifth, and 64, of the requests of the first; " +
			"in no machine half the work is gone, or twice as many frames to come, fences or buffers are mapped.",
		run: runSoak,
	}
}

// soakMachines is how many machines of each tier are soaked.
const soakMachines = 4

func runSoak(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Parts of the soak, of all machines of a tier", Columns: []string{
		"tier", "part", "requests", "frames", "sent again", "longest recovery", "to come", "fences", "buffers", "crunches",
	}}
	c := Chart{Title: "Requests in each tenth of the soak", X: "part", Y: "requests"}
	var virtual time.Duration
	rounds := max(1, o.Seeds/2) * 10
	for _, below := range []machine.Below{machine.OwnQueue, machine.Guarded} {
		var parts []machine.Part
		for i := range soakMachines {
			if err := ctx.Err(); err != nil {
				return r.Result, err
			}
			seed := o.First + uint64(i)
			s, err := machine.Soak(seed, below, rounds)
			if err != nil {
				return r.Result, err
			}
			r.check(!s.Dead, "%v, seed %d: dead after %v", below, seed, s.Virtual)
			r.check(s.Wrong == "", "%v, seed %d: %s", below, seed, s.Wrong)
			r.check(s.Uneven == "", "%v, seed %d: %s", below, seed, s.Uneven)
			virtual += s.Virtual
			parts = addParts(parts, s.Parts)
		}
		line := Line{Name: below.String()}
		for i, p := range parts {
			t.Rows = append(t.Rows, []string{
				below.String(), fmt.Sprint(i + 1), fmt.Sprint(p.Requests), fmt.Sprint(p.Sent), fmt.Sprint(p.Again), p.Recovery.Round(time.Microsecond).String(),
				fmt.Sprint(p.Queued), fmt.Sprint(p.Fences), fmt.Sprint(p.Mapped), fmt.Sprint(p.Crunches),
			})
			line.X, line.Y = append(line.X, float64(i+1)), append(line.Y, float64(p.Requests))
		}
		c.Lines = append(c.Lines, line)
		first, last := parts[0].Requests, parts[len(parts)-1].Requests
		r.check(max(first-last, last-first) <= first/5+64, "%v: %d requests in the first part, %d in the last", below, first, last)
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		fmt.Sprintf("%v of virtual time, in which engine and reserve were never made anew. Longer: --seeds 20000.", virtual.Round(time.Second)),
		"This is about what the protocol and the reserve hold. What a process holds (heap, page faults, goroutines, memory) is not in a simulation: \"go run ./cmd/internal/soak\" loads a real target and a real, sealed initiator for an hour, and fails if one of these is not flat.",
	}
	return r.Result, nil
}

// addParts adds what is counted, and keeps the most of what is most.
func addParts(to, more []machine.Part) []machine.Part {
	if to == nil {
		return append(to, more...)
	}
	for i, p := range more {
		s := &to[i]
		s.Requests, s.Sent, s.Again, s.Crunches = s.Requests+p.Requests, s.Sent+p.Sent, s.Again+p.Again, s.Crunches+p.Crunches
		s.Recovery, s.Queued = max(s.Recovery, p.Recovery), max(s.Queued, p.Queued)
		s.Fences, s.Mapped = max(s.Fences, p.Fences), max(s.Mapped, p.Mapped)
	}
	return to
}
