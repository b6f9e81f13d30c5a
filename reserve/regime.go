package reserve

import "fmt"

// A Regime is how the reserve is working at the moment.
type Regime uint8

// The two regimes.
const (
	// Normal: ordinary allocation carries everything, the reserve is whole.
	Normal Regime = iota
	// Crunch: ordinary allocation fails, stocks are as small as they were
	// guaranteed to be, and claims are served from the reserve.
	Crunch
)

// String is "normal" or "crunch".
func (g Regime) String() string {
	if g == Crunch {
		return "crunch"
	}
	return "normal"
}

// MarshalText lets JSON show the name.
func (g Regime) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (g *Regime) UnmarshalText(text []byte) error {
	switch string(text) {
	case "normal":
		*g = Normal
	case "crunch":
		*g = Crunch
	default:
		return fmt.Errorf("reserve: there is no regime %q", text)
	}
	return nil
}

// Time is not an argument here: the regime counts releases, because what makes
// memory scarce or plentiful is work being done. At 30,000 requests a second,
// minPatience is a millisecond and maxPatience an eighth of a second: short
// against the seconds that a machine takes to recover, long against the cost
// of asking (one mmap). A machine that does nothing needs no other regime.
const (
	minPatience = 32
	maxPatience = 4096
)

type regime struct {
	now      Regime
	pressure bool // the operator, or a monitor, says that memory is short
	probing  bool // in crunch: the grower is asked whether memory can be had
	calm     int  // releases since the last failure, or since the last change
	patience int  // releases without failure until crunch may end
	late     int  // releases that growing has not kept up with
}

// SetPressure tells of a shortage of memory in the system. Under pressure normal
// allocation fails, and slabs go back to the system as they fall idle.
func (r *Reserve) SetPressure(on bool) {
	r.mu.Lock()
	defer r.unlock()
	if r.regime.pressure == on {
		return
	}
	r.regime.pressure = on
	if on {
		r.enterCrunch()
	} else {
		r.probe() // whoever watches memory has hysteresis of its own
	}
	r.serve() // in crunch the reserve is there to be used, in normal there is more
}

// Regime is the regime as of now.
func (r *Reserve) Regime() Regime {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.regime.now
}

// injected asks the fault injection whether normal allocation is to fail.
func (r *Reserve) injected() bool { return r.cfg.FailNormal != nil && r.cfg.FailNormal() }

// normalFails reports whether a claim or refill finds no normal memory to use,
// though some may be mapped, and takes note of it.
func (r *Reserve) normalFails() bool {
	if r.regime.pressure {
		r.stats.normalFailures++
		return true
	}
	if r.slabs.budget > 0 && r.injected() {
		r.normalFailed()
		return true
	}
	return false
}

// normalFailed is every failure of normal allocation but one: a budget that is
// used up is the operator's limit and not a shortage. Claims then wait.
func (r *Reserve) normalFailed() {
	r.stats.normalFailures++
	if r.regime.probing {
		r.regime.patience = min(2*r.regime.patience, maxPatience)
	}
	r.enterCrunch()
	r.regime.calm, r.regime.probing = 0, false
}

func (r *Reserve) enterCrunch() {
	if r.regime.now == Crunch {
		return
	}
	// Hysteresis: the last crunch ended too early if the next one comes soon.
	if r.stats.toCrunch > 0 && r.regime.calm < maxPatience {
		r.regime.patience = min(2*r.regime.patience, maxPatience)
	} else {
		r.regime.patience = minPatience
	}
	r.regime.now, r.regime.calm, r.regime.probing = Crunch, 0, false
	r.stats.toCrunch++
	r.version.Add(1)
}

// released counts a release, and looks for the end of the crunch after enough
// of them without a failure.
//
// A claim that waits while the budget is not used up waits for the grower. If
// that takes as many releases as would end a crunch, the system hangs in
// mapping, or as good as: also a failure of normal allocation.
func (r *Reserve) released() {
	r.regime.calm = min(r.regime.calm+1, maxPatience)
	if r.waiting.n == 0 || r.regime.now == Crunch || r.slabs.mapped == r.slabs.budget {
		r.regime.late = 0
	} else if r.regime.late++; r.regime.late > minPatience {
		r.normalFailed()
	}
	if r.regime.now == Crunch && !r.regime.pressure && !r.regime.probing && r.regime.calm >= r.regime.patience {
		r.probe()
	}
}

// probe asks normal memory whether it is there again.
func (r *Reserve) probe() {
	r.regime.probing = true // until there is room, or normal memory fails
	if r.injected() {
		r.normalFailed()
		return
	}
	r.maybeLeaveCrunch()
}

// maybeLeaveCrunch: normal again when the stocks can have all they want and the
// largest claim is still there behind it, so that the return does not cause
// the next failure; or when everything in the budget is mapped, for then
// nothing is scarce.
func (r *Reserve) maybeLeaveCrunch() {
	if r.regime.pressure || r.slabs.mapped < r.slabs.budget && r.freeNormal() < r.missing()+r.ahead() {
		return
	}
	r.regime.now, r.regime.calm, r.regime.late, r.regime.probing = Normal, 0, 0, false
	r.stats.toNormal++
	r.version.Add(1)
}
