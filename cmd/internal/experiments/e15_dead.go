package experiments

import (
	"context"
	"fmt"
	"time"

	"aoe/cmd/internal/fabric"
)

// deadTarget is E15.
func deadTarget() Experiment {
	return Experiment{
		Name: "E15", Title: "One dead target among healthy ones", Seeds: true,
		Question: "One of several disks of an initiator dies, and what was sent to it waits for ever. Do the others go on?",
		Setup: "Four disks of one initiator, each of a target of its own on one simulated switch, with the real engine and reserve. Memory for 16 requests, or for 4; each disk always wants 16. " +
			"It is divided in three ways: a reserve for each disk, as package initiator does it; one reserve, of which a disk has a quarter; one reserve for whoever comes first. " +
			"One target dies at 25 ms; what the other three do from 50 ms to 150 ms is compared with the same seed without a death. The disks wait for ever, as those do that a machine swaps on; in one row requests fail 50 ms after they were sent. " +
			"And what a disk that is alone in wanting something gets. A run for every 40 seeds.",
		Hypothesis: "With shares the healthy disks lose nothing. Without, the dead one holds in the end all there is (I11), and they stop. Shares cost what one busy disk could borrow from idle ones.",
		Criterion:  "With shares or own reserves, each healthy disk does at least 95 % of what it does without the death. First come: none does anything. With a dead time: they go on when it is over, and not before.",
		run:        runDeadTarget,
	}
}

// A death is one row.
type death struct {
	pool     fabric.Pool
	claims   int
	deadTime time.Duration
}

func runDeadTarget(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Requests in 100 ms, of all runs", Columns: []string{
		"memory", "requests that fit", "dead time", "three disks, none dead", "three disks, the fourth dead", "worst disk, of before", "longest", "one disk wants alone",
	}}
	var bars []Bar
	for _, c := range []death{
		{fabric.Own, 16, 0}, {fabric.Shares, 16, 0}, {fabric.Together, 16, 0}, {fabric.Together, 16, 50 * time.Millisecond},
		{fabric.Own, 4, 0}, {fabric.Shares, 4, 0}, {fabric.Together, 4, 0},
	} {
		row, err := runDeath(ctx, o, c)
		if err != nil {
			return r.Result, err
		}
		never, dead := "never", c.deadTime > 0
		if dead {
			never = fmt.Sprint(c.deadTime)
		}
		t.Rows = append(t.Rows, []string{
			c.pool.String(), fmt.Sprint(c.claims), never, fmt.Sprint(row.before), fmt.Sprint(row.after), fmt.Sprintf("%.0f %%", 100*row.worst),
			fmt.Sprintf("%.1f ms", milliseconds(row.longest)), fmt.Sprint(row.alone),
		})
		name := fmt.Sprintf("%v, room for %d", c.pool, c.claims)
		if dead {
			name += ", dead time " + never
		}
		bars = append(bars, Bar{name, 100 * float64(row.after) / float64(max(row.before, 1)), c.pool != fabric.Together})
		switch {
		case c.pool != fabric.Together:
			r.check(row.worst >= 0.95, "%s: a healthy disk does %.0f %% of what it did", name, 100*row.worst)
		case dead:
			r.check(row.after > 0 && row.longest >= c.deadTime/3, "%s: %d requests of the healthy, the longest %v", name, row.after, row.longest)
		default:
			r.check(row.after == 0, "%s: the healthy disks still do %d requests of %d", name, row.after, row.before)
		}
	}
	r.Tables = []Table{t}
	r.Charts = []Chart{{Title: "What healthy disks do beside a dead one", X: "% of what they do without", Bars: bars}}
	r.judge()
	r.Finding = []string{
		"First come, first served is fair to requests and not to disks: each that is served beside the dead disk comes back, each that the dead disk is given stays. The queue hands it everything, one claim at a time, and nothing is wrong with any rule of the reserve while it does.",
		"A dead time is no remedy: it has to be longer than any outage that is to be survived (180 s is usual, for ever where a machine swaps), and for as long nothing is done for anybody.",
		"What shares cost is in the last column: a disk that is alone in wanting something has its part and no more. Package initiator gives each disk a reserve of its own, so this is how it is shipped; memory for normal times is borrowed from the system, and only what is guaranteed is divided.",
	}
	return r.Result, nil
}

// A spared is what became of the healthy disks.
type spared struct {
	before, after, alone int
	worst                float64 // disk: after, of before
	longest              time.Duration
}

func runDeath(ctx context.Context, o Options, c death) (spared, error) {
	out := spared{worst: 1}
	before, after := make([]int, 3), make([]int, 3)
	for i := range fabricRuns(o) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		run := func(requests []int, diesAt time.Duration) (fabric.Result, error) {
			return runFabric(o.First+uint64(i), fourDisks(c, requests, diesAt))
		}
		healthy, err := run([]int{0, 1, 2, 3}, 0)
		if err != nil {
			return out, err
		}
		dead, err := run([]int{0, 1, 2, 3}, 25*time.Millisecond)
		if err != nil {
			return out, err
		}
		alone, err := run([]int{0}, 0)
		if err != nil {
			return out, err
		}
		for k := range before {
			before[k] += healthy.Disks[k].Requests
			after[k] += dead.Disks[k].Requests
			out.longest = max(out.longest, dead.Disks[k].Worst())
		}
		out.alone += alone.Disks[0].Requests
	}
	for k := range before {
		out.before, out.after = out.before+before[k], out.after+after[k]
		out.worst = min(out.worst, float64(after[k])/float64(max(before[k], 1)))
	}
	return out, nil
}

// fourDisks is an initiator whose last target may die, and of whose disks only
// some want anything.
func fourDisks(c death, wanting []int, diesAt time.Duration) fabric.Config {
	cfg := fabric.Config{Time: 150 * time.Millisecond, Mark: 50 * time.Millisecond}
	h := fabric.Initiator{Disks: []int{0, 1, 2, 3}, Wanting: wanting, Requests: 16, Pool: c.pool, Claims: c.claims, DeadTime: c.deadTime}
	cfg.Initiators = []fabric.Initiator{h}
	for range h.Disks {
		cfg.Targets = append(cfg.Targets, fabric.Target{Advertised: 64, Buffers: 64, Service: 40 * time.Microsecond})
	}
	cfg.Targets[3].DiesAt = diesAt
	return cfg
}
