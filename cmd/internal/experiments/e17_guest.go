package experiments

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aoe/cmd/internal/guest"
)

// kernelOrOurs is E17.
func kernelOrOurs() Experiment {
	return Experiment{
		Name: "E17", Title: "A real machine without memory: Linux's driver, and ours",
		Question: "A machine swaps on a disk on the network, a program needs more memory than there is, and a flood goes into a socket that nobody reads. Which initiator survives?",
		Setup: fmt.Sprintf("What \"aoe lab guest\" runs: Linux %s in QEMU, software emulation, 128 MiB; swap on e1.1, served by our target; a program that fills %d MiB and looks at every word again; "+
			"%d foreign frames a second into a socket with room for %d MiB. Once with Linux's own AoE driver, once with aoe attach --via ublk --swap-safe. One run each.",
			guest.DefaultKernel, guest.DefaultFill>>20, guestFlood, guest.DefaultUnread>>20),
		Hypothesis: "Linux's driver hangs, or fails in another way. Ours survives, and every page is what was written to it.",
		Criterion:  "As said. One run proves that something can happen, and not that it cannot: for series, other kernels and single mechanisms removed see aoe lab guest --runs, --kernel and --ablate.",
		Costs:      "root, QEMU and Debian's archive (a kernel of 100 MB is fetched once), one processor for some seven minutes",
		run: func(ctx context.Context, o Options) (Result, error) {
			tell := o.Tell
			if tell == nil {
				tell = func(string) {}
			}
			k, err := guest.Prepare(ctx, guest.Source{Tell: tell})
			if err != nil {
				return Result{}, err
			}
			return runGuests(ctx, o, func(ctx context.Context, r guest.Recipe) (*guest.Trial, error) {
				return tryGuest(ctx, k, r, tell)
			})
		},
	}
}

const guestFlood = 5000 // frames a second

// tryGuest is one run, whose log is kept if it failed, as aoe lab guest does.
func tryGuest(ctx context.Context, k *guest.Kernel, r guest.Recipe, tell func(string)) (*guest.Trial, error) {
	report, err := k.RunSeries(ctx, guest.Series{Recipe: r, Tell: func(_ int, what string) { tell(r.Initiator + ": " + what) }})
	if err != nil {
		return nil, err
	}
	if len(report.Trials) == 0 {
		return nil, errors.New("the guest was not run")
	}
	return report.Trials[0], nil
}

// guestInitiators are who is put to it, and whether it is expected to survive.
var guestInitiators = []struct {
	name, title string
	survives    bool
}{
	{"kernel", "Linux's own driver", false},
	{"ublk", "ours, through ublk", true},
}

func runGuests(ctx context.Context, o Options, try func(context.Context, guest.Recipe) (*guest.Trial, error)) (Result, error) {
	var r Result
	t := Table{Title: "One run each", Columns: []string{"initiator", "outcome", "after", "got to", "pages in", "pages out", "flooded", "worst stall"}}
	c := Chart{Title: "What went over the network until it ended", X: "pages, in and out"}
	for _, g := range guestInitiators {
		trial, err := try(ctx, guest.Recipe{Initiator: g.name, Flood: guestFlood, UnreadBytes: guest.DefaultUnread, Seed: o.First + 1})
		if err != nil {
			return r, fmt.Errorf("%s: %w", g.title, err)
		}
		t.Rows = append(t.Rows, []string{
			g.title, string(trial.Outcome), trial.Took.Round(100 * time.Millisecond).String(), trial.Phase, fmt.Sprint(trial.PagesIn), fmt.Sprint(trial.PagesOut),
			fmt.Sprint(trial.Flooded), trial.WorstStall.Round(time.Millisecond).String(),
		})
		c.Bars = append(c.Bars, Bar{g.title, float64(trial.PagesIn + trial.PagesOut), trial.Outcome == guest.Survived})
		if survived := trial.Outcome == guest.Survived; survived != g.survives {
			r.Differs = append(r.Differs, fmt.Sprintf("%s: %s", g.title, trial.Outcome))
		}
		if trial.Outcome != guest.Survived {
			story := fmt.Sprintf("%s: %s. Log: %s\n", g.title, trial.Outcome, trial.LogPath)
			for _, why := range trial.Why {
				story += "  - " + why + "\n"
			}
			r.Stories = append(r.Stories, story)
		}
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.Verdict = judge(r.Differs, len(guestInitiators))
	r.Finding = []string{
		"This is the one experiment in which Linux itself is short of memory. Its outcome is what counts; emulated, its times are those of no machine.",
		"What the searches say of the tiers was compared with such guests: docs/GUEST.md has the matrix of kernels, initiators and floods, and what each mechanism is good for.",
	}
	return r, nil
}
