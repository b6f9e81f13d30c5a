package experiments

import (
	"context"
	"fmt"
	"slices"
	"time"

	"aoe/cmd/internal/fabric"
)

// buffers is E13.
func buffers() Experiment {
	return Experiment{
		Name: "E13", Title: "A target that holds less than it says", Seeds: true,
		Question: "The buffer count is the protocol's push-back. What if a target holds fewer frames than it advertises, and loses what comes beyond?",
		Setup: "Targets and initiators on one simulated switch, with the real engine and reserve; 20 us of service for each frame, 64 requests of 4 KiB wanted at any time, in 4 frames each. " +
			"The target holds 4, 8 or 32 frames and says so, or says 4 or 16 times as many; once four initiators share one. Against each, an initiator that trusts the number: the same timers, but no window of its own. " +
			"150 ms, counted after 50; a run for every 40 seeds.",
		Hypothesis: "The engine finds the true number by itself: what it is told makes no difference to what gets done. The initiator that trusts the number sends mostly in vain.",
		Criterion: "All windows together end within a quarter, and 3, of the true number; at least 90 % of the requests of the same target when it says the truth; at most a tenth of the frames sent again; no request takes ten times " +
			"as long as the longest then. The initiator that trusts sends more than the engine does, and gets less done.",
		run: runBuffers,
	}
}

// A fill is how a target that is asked for all it can do was used, the median of
// its runs.
type fill struct {
	requests, window, sent, again, lost int
	worst                               time.Duration
}

func runBuffers(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "What is done in 100 ms, median of the runs", Columns: []string{
		"holds", "says", "initiators", "window", "requests", "frames sent", "sent again", "longest", "trusting: requests", "frames sent", "sent again", "longest",
	}}
	ours, trusting := Line{Name: "the engine"}, Line{Name: "trusts the number"}
	for _, c := range []struct{ holds, initiators int }{{4, 1}, {8, 1}, {32, 1}, {32, 4}} {
		honest, err := fillTarget(ctx, o, c.holds, c.holds, c.initiators, false)
		if err != nil {
			return r.Result, err
		}
		for _, times := range []int{1, 4, 16} {
			says := times * c.holds
			a := honest
			if times > 1 {
				if a, err = fillTarget(ctx, o, c.holds, says, c.initiators, false); err != nil {
					return r.Result, err
				}
			}
			b, err := fillTarget(ctx, o, c.holds, says, c.initiators, true)
			if err != nil {
				return r.Result, err
			}
			t.Rows = append(t.Rows, append(append([]string{fmt.Sprint(c.holds), fmt.Sprint(says), fmt.Sprint(c.initiators), fmt.Sprint(a.window)}, a.cells()...), b.cells()...))
			if c.holds == 8 {
				ours.X, ours.Y = append(ours.X, float64(says)), append(ours.Y, milliseconds(a.worst))
				trusting.X, trusting.Y = append(trusting.X, float64(says)), append(trusting.Y, milliseconds(b.worst))
			}
			if times == 1 {
				continue
			}
			name := fmt.Sprintf("holds %d, says %d to %d", c.holds, says, c.initiators)
			r.check(a.window >= c.holds*3/4-3 && a.window <= c.holds*5/4+3, "%s: the windows end at %d together", name, a.window)
			r.check(10*a.requests >= 9*honest.requests, "%s: %d requests done, %d when it says the truth", name, a.requests, honest.requests)
			r.check(10*a.again <= a.sent, "%s: %d of %d frames were sent again", name, a.again, a.sent)
			r.check(a.worst < 10*honest.worst, "%s: a request took %v, and at most %v when it says the truth", name, a.worst.Round(time.Microsecond), honest.worst.Round(time.Microsecond))
			r.check(b.again > a.again, "%s: who trusts the number sent %d frames again, the engine %d", name, b.again, a.again)
			r.check(b.requests < a.requests, "%s: who trusts the number had %d requests done, the engine %d", name, b.requests, a.requests)
		}
	}
	r.Tables = []Table{t}
	r.Charts = []Chart{{Title: "A target that holds 8 frames: the longest that a request took", X: "frames that it says it holds", Y: "ms", LogX: true, Lines: []Line{ours, trusting}}}
	r.judge()
	r.Finding = []string{
		"The window settles a little above the true number and stays there: losses within an eighth of a window are taken for the network's own, so a target that loses its excess at once is asked for a frame or two more than it holds, " +
			"and these are sent again. That costs frames, not requests: the target is never idle.",
		"Trusting the number costs less work than was thought, as long as one initiator is alone: the frames that wait for their timers are not in the way of others. It costs fairness within the disk: whose frames are lost again and again backs off " +
			"each time, while newer ones find room. \"Longest\" counts what had not ended at the end, too: 150 ms means that it had waited all the time. On a disk that a machine swaps on, that is a task that does not wake.",
	}
	return r.Result, nil
}

// fillTarget has initiators want all that one target can do.
func fillTarget(ctx context.Context, o Options, holds, says, initiators int, trusts bool) (fill, error) {
	var all []fill
	for i := range fabricRuns(o) {
		if err := ctx.Err(); err != nil {
			return fill{}, err
		}
		cfg := fabric.Config{
			Targets: []fabric.Target{{Advertised: says, Buffers: holds, Service: 20 * time.Microsecond}},
			Time:    150 * time.Millisecond, Mark: 50 * time.Millisecond,
		}
		for range initiators {
			cfg.Initiators = append(cfg.Initiators, fabric.Initiator{Disks: []int{0}, Requests: 64 / initiators, Claims: 64 / initiators, Trusts: trusts})
		}
		m, err := runFabric(o.First+uint64(i), cfg)
		if err != nil {
			return fill{}, err
		}
		f := fill{lost: int(m.TargetLost)}
		for _, d := range m.Disks {
			f.requests, f.window = f.requests+d.Requests, f.window+d.Window
			f.sent, f.again = f.sent+int(d.Sent), f.again+int(d.Again)
			f.worst = max(f.worst, d.Worst())
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b fill) int { return a.requests - b.requests })
	return all[len(all)/2], nil
}

func (f fill) cells() []string {
	return []string{fmt.Sprint(f.requests), fmt.Sprint(f.sent), fmt.Sprint(f.again), fmt.Sprintf("%.1f ms", milliseconds(f.worst))}
}

// fabricRuns is how many runs of a fabric stand for so many seeds: one is thousands
// of requests already.
func fabricRuns(o Options) int { return max(1, o.Seeds/40) }

// runFabric runs one, in which nothing may be wrong.
func runFabric(seed uint64, cfg fabric.Config) (fabric.Result, error) {
	m, err := fabric.Run(seed, cfg)
	if err == nil && m.Wrong != "" {
		err = fmt.Errorf("seed %d: %s", seed, m.Wrong)
	}
	return m, err
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
