package experiments

import (
	"context"
	"fmt"
	"math/rand/v2"

	"aoe/reserve/model"
)

// pace is the rates of a machine that writes as fast as it can: one unit of
// time is the disk's round trip.
func pace(flood float64) model.Rates {
	return model.Rates{Dirty: 2, Send: 10, Reply: 1, Flood: flood, Classify: 200, Read: 20, Refill: 200}
}

const (
	throttlePages = 8
	walkTime      = 200
)

// throttle is E9.
func throttle() Experiment {
	return Experiment{
		Name: "E9", Title: "Throttling against pushing back", Seeds: true,
		Question: "Is it enough to slow down whoever dirties pages, or must what a write needs be there before it begins?",
		Setup: fmt.Sprintf("A machine of %d pages, at most 1 to %d of them dirty and nothing set aside; against claims taken all at once, before a write begins and before a "+
			"page may become dirty, for 1 to 4 writes. Each is searched, and walked by chance for %d round trips of the disk, with as many foreign frames as writes.",
			throttlePages, throttlePages, walkTime),
		Hypothesis: "Throttling dies at every setting, only later; claims taken all at once never do, and while there is no flood they are as fast as a throttle of as many.",
		Criterion: "Dead states at every level of the throttle, none under claims; some seeds die under each throttle, none under claims; " +
			"without a flood, claims for n writes complete at least 0.9 times as many as a throttle of n.",
		run: runThrottle,
	}
}

func runThrottle(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Throttle and claims", Columns: []string{"policy", "states", "dead", "seeds that died", "round trips until then", "writes per round trip, no flood"}}
	c := Chart{Title: "Seeds that died", X: "% of seeds"}
	row := func(name, short string, p model.Policy, dies bool) (float64, error) {
		w := model.World{Pages: throttlePages, Policy: p}
		v := w.Search()
		out, err := walkMany(ctx, w, pace(1), o)
		if err != nil {
			return 0, err
		}
		w.Flood = model.NoFlood
		quiet, err := walkMany(ctx, w, pace(0), o)
		r.check((v.Dead > 0) == dies, "%s: %d dead states, expected some: %v", name, v.Dead, dies)
		r.check((out.dead > 0) == dies, "%s: %d of %d seeds died, expected some: %v", name, out.dead, o.Seeds, dies)
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(v.States), fmt.Sprint(v.Dead), fmt.Sprintf("%d of %d", out.dead, o.Seeds), out.until(), fmt.Sprintf("%.2f", quiet.perTime)})
		c.Bars = append(c.Bars, Bar{short, 100 * float64(out.dead) / float64(o.Seeds), out.dead == 0})
		return quiet.perTime, err
	}
	throttled := map[int]float64{}
	for n := 1; n <= throttlePages; n++ {
		speed, err := row(fmt.Sprintf("throttle: dirty <= %d", n), fmt.Sprintf("throttle %d", n), model.Policy{Throttle: n}, true)
		if err != nil {
			return r.Result, err
		}
		throttled[n] = speed
	}
	for _, perPage := range []bool{false, true} {
		for n := 1; n <= 4; n++ {
			name, short := fmt.Sprintf("claims for %d, before a write", n), fmt.Sprintf("claims %d", n)
			if perPage {
				name, short = fmt.Sprintf("claims for %d, before a page is dirty", n), fmt.Sprintf("claims %d, per page", n)
			}
			p := model.Policy{Claim: n, PerPage: perPage, Store: model.Shared(1), DropForeign: true}
			speed, err := row(name, short, p, false)
			if err != nil {
				return r.Result, err
			}
			r.check(speed >= 0.9*throttled[n], "%s: %.2f writes per round trip without a flood, the throttle has %.2f", name, speed, throttled[n])
		}
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"A throttle saves memory for whoever comes, and who comes is the flood. It decides how long the machine lives, not whether.",
		"Both kinds of claim live. Claiming before a page may become dirty also keeps applications from finding all memory dirty, which is why I9 asks for it; it is paid with " +
			"fewer dirty pages to choose from.",
	}
	return r.Result, nil
}

// A walked is what became of many walks.
type walked struct {
	dead      int
	deadTime  float64 // of those that died
	perTime   float64 // completions of all, in all the time that they lived
	completed int
}

func (w walked) until() string {
	if w.dead == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", w.deadTime/float64(w.dead))
}

// walkMany walks each seed until it is dead or its time is over.
func walkMany(ctx context.Context, w model.World, rates model.Rates, o Options) (walked, error) {
	terrain := w.Survey()
	clocks := terrain.Clocks(rates)
	var out walked
	time := 0.0
	for i := range o.Seeds {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		walk := terrain.Walk(rand.New(rand.NewPCG(o.First+uint64(i), walkStream)))
		walk.Until(clocks, walkTime, func(model.State) bool { return false })
		if walk.Dead() {
			out.dead++
			out.deadTime += walk.Time
		}
		out.completed += walk.Completions
		time += walk.Time
	}
	out.perTime = float64(out.completed) / time
	return out, nil
}

// walkStream tells the walks' random numbers from others of the same seed.
const walkStream = 9
