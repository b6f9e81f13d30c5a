package experiments

import (
	"context"
	"fmt"
	"time"

	"aoe/cmd/internal/machine"
)

// seeds is the simulation of the real engine and the real reserve.
func seeds() Experiment {
	return Experiment{
		Name: "seeds", Title: "The real engine and reserve in a simulated machine", Seeds: true,
		Question: "Does the code that is shipped write everything, and the right thing, whatever the network, the flood and ordinary allocation do?",
		Setup: "A machine of 4 to 32 pages on a virtual clock. Engine and reserve are the real ones; pages, kernel, network, flood and disk are simulated, and everything is drawn from the seed: " +
			"requests, reserve, failing allocations, losses up to 30 %, duplicates, delays, foreign frames up to 100 times the wire's rate, forged ones, reads. After 30 ms the network loses nothing more and nothing new becomes " +
			"dirty, but the flood goes on; then everything must be written within 5 s of virtual time, and the disk must hold what was acknowledged. Another seed, another machine.",
		Hypothesis: "At T3 and at T2 no seed is dead and none is wrong. Without the guard (T1) some are dead: the canary.",
		Criterion:  "As said. A seed that fails is named, and replayed by --seed N --seeds 1, bit for bit.",
		run:        runSeeds,
	}
}

// A tally is many runs at one tier.
type tally struct {
	dead, wrong                      int
	writes, reads                    int
	again, freed, reserved, crunches uint64
	worst                            time.Duration
	first                            string // what went wrong first
}

func runSeeds(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Seeds, by tier", Columns: append([]string{"tier", "seeds"}, tallied...)}
	c := Chart{Title: "Seeds that died", X: "% of seeds"}
	for _, below := range []machine.Below{machine.OwnQueue, machine.Guarded, machine.Unguarded} {
		n := o.Seeds
		if below == machine.Unguarded {
			n = min(n, defaultSeeds) // dead runs take long: they are given all the time there is
		}
		y, err := runMachines(ctx, o.First, n, func(seed uint64) (machine.Result, error) { return machine.Run(seed, below) })
		if err != nil {
			return r.Result, err
		}
		if blind := below == machine.Unguarded && y.dead == 0 && n >= 100; blind {
			r.check(false, "%v: none of %d seeds dead: the simulation sees nothing", below, n)
		} else {
			r.check(y.wrong == 0 && (below == machine.Unguarded || y.dead == 0), "%v: %d of %d seeds dead, %d wrong; the first is %s", below, y.dead, n, y.wrong, y.first)
		}
		name := below.String()
		if below == machine.Unguarded {
			name += ", the canary"
		}
		t.Rows = append(t.Rows, append([]string{name, fmt.Sprint(n)}, y.cells()...))
		c.Bars = append(c.Bars, y.bar(name, n))
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"Time is virtual and the kernel is a few counters: this shows that engine and reserve together finish what they began, and says nothing about how fast. The canary differs from T2 in one line, the guard's.",
	}
	return r.Result, nil
}

// tallied are the columns of a tally.
var tallied = []string{"dead", "wrong", "writes", "reads", "frames sent again", "freed at once", "claims from the reserve", "crunches", "worst recovery"}

func (y tally) cells() []string {
	return []string{
		fmt.Sprint(y.dead), fmt.Sprint(y.wrong), fmt.Sprint(y.writes), fmt.Sprint(y.reads),
		fmt.Sprint(y.again), fmt.Sprint(y.freed), fmt.Sprint(y.reserved), fmt.Sprint(y.crunches), y.worst.Round(time.Millisecond).String(),
	}
}

// bar is how many of n seeds died.
func (y tally) bar(name string, n int) Bar {
	return Bar{name, 100 * float64(y.dead) / float64(max(n, 1)), y.dead == 0}
}

// runMachines runs n seeds from the first on.
func runMachines(ctx context.Context, first uint64, n int, run func(seed uint64) (machine.Result, error)) (tally, error) {
	var y tally
	for i := range n {
		if err := ctx.Err(); err != nil {
			return y, err
		}
		seed := first + uint64(i)
		m, err := run(seed)
		if err != nil {
			return y, err
		}
		if m.Dead {
			y.dead++
		} else {
			y.worst = max(y.worst, m.Recovery)
		}
		if m.Wrong != "" {
			y.wrong++
		}
		if y.first == "" && (m.Dead || m.Wrong != "") {
			y.first = fmt.Sprintf("seed %d %s", seed, m.Wrong)
		}
		y.writes, y.reads = y.writes+m.Writes, y.reads+m.Reads
		y.again, y.freed = y.again+m.Again, y.freed+m.Freed
		y.reserved, y.crunches = y.reserved+m.Reserved, y.crunches+m.Crunches
	}
	return y, nil
}
