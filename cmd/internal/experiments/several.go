package experiments

import (
	"context"
	"fmt"

	"aoe/cmd/internal/machine"
)

// several is the simulation of "seeds", of a machine with several disks.
func several() Experiment {
	return Experiment{
		Name: "several", Title: "The real engine and reserve, and a disk whose target dies", Seeds: true,
		Question: "A machine without memory has several disks. Does one whose target is dead, silent for a while or late keep the others from being written?",
		Setup: "The machine of \"seeds\" with two to four disks, each with an engine of its own. The pages are common, so that the pages of a dead disk take memory from the others, and the flood takes what is left. " +
			"What the target of the first disk does is drawn from the seed: as it should; answers up to 10 ms late, for ever; silence until the network is well again; silence for ever. " +
			"The reserve is one for each disk, as package initiator has it, or one for all in equal shares. In three canaries it is one for whoever comes first; one in shares, with normal memory beside it that has none; and the guard is missing.",
		Hypothesis: "With a reserve for each disk, or shares and nothing else, no seed is dead and none is wrong. In each of the canaries some seed is dead.",
		Criterion: "Everything on disks whose target lives is written within 5 s of virtual time after the faults end; every disk holds what was acknowledged. " +
			"Of the canaries some seed is dead if there are 1000 of them.",
		run: runSeveral,
	}
}

// A mixture is one row.
type mixture struct {
	name   string
	below  machine.Below
	pool   *machine.Pool // nil: as the seed says
	canary bool
}

func mixtures() []mixture {
	together, borrowing := machine.Together, machine.Borrowing
	return []mixture{
		{"a reserve each, or shares", machine.OwnQueue, nil, false},
		{"a reserve each, or shares", machine.Guarded, nil, false},
		{"first come, a canary", machine.OwnQueue, &together, true},
		{"shares, and normal memory, a canary", machine.Guarded, &borrowing, true},
		{"no guard, a canary", machine.Unguarded, nil, true},
	}
}

func runSeveral(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Seeds, by tier and reserve", Columns: append([]string{"tier", "reserve", "seeds"}, tallied...)}
	c := Chart{Title: "Seeds that died", X: "% of seeds"}
	for _, x := range mixtures() {
		n := o.Seeds
		if x.canary {
			n = min(n, 1000) // dead runs take long: they are given all the time there is
		}
		y, err := runMachines(ctx, o.First, n, func(seed uint64) (machine.Result, error) { return machine.RunSeveral(seed, x.below, x.pool) })
		if err != nil {
			return r.Result, err
		}
		if x.canary {
			r.check(y.wrong == 0, "%v, %s: %d of %d seeds wrong; the first is %s", x.below, x.name, y.wrong, n, y.first)
			r.check(y.dead > 0 || n < 1000, "%v, %s: none of %d seeds dead: the simulation sees nothing", x.below, x.name, n)
		} else {
			r.check(y.wrong == 0 && y.dead == 0, "%v, %s: %d of %d seeds dead, %d wrong; the first is %s", x.below, x.name, y.dead, n, y.wrong, y.first)
		}
		t.Rows = append(t.Rows, append([]string{x.below.String(), x.name, fmt.Sprint(n)}, y.cells()...))
		c.Bars = append(c.Bars, y.bar(x.below.String()+", "+x.name, n))
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"What a dead disk holds it holds for ever: its pages, its requests, and their claims. The others live of what it cannot have.",
		"Shares of a reserve are worth nothing while there is normal memory that is not divided: a budget that is used up is no crunch, so claims wait for what the dead disk has of it, and the reserve beside it stays whole. " +
			"Whoever wants one reserve for several disks has to do without normal memory, or divide that too. Package initiator gives each disk a reserve and a budget of its own.",
	}
	return r.Result, nil
}
