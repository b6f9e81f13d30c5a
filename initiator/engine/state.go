package engine

import (
	"time"

	"aoe/frame"
)

// A Trouble is a reason why a disk, or a path to it, is not simply up.
type Trouble uint8

// The troubles. The first are those of paths. A disk has one of them when each of
// its paths has some, and when only some have, it has PathDown. With Dead,
// Replaced or Refusing a disk is down: requests fail at once. With the others it
// is degraded.
const (
	Silent      Trouble = iota // the target answers nothing
	LinkDown                   // our port is down
	SmallMTU                   // our port's MTU is smaller than it was
	ShortFrames                // only short frames get through: the target or a switch has a smaller MTU
	Replaced                   // a disk with another serial number answers (H15)
	Refusing                   // the target refuses to identify the disk
	pathTroubles
)

// The troubles that only a disk has.
const (
	Dead     = pathTroubles + iota // silent for the dead time
	PathDown                       // a path is in trouble, and others are not
	Shrunk                         // the disk is smaller than it was (H16)
	troubles
)

type trouble struct {
	on    bool
	since time.Duration
}

func (e *Engine) setTrouble(now time.Duration, t Trouble, on bool) {
	if e.trouble[t].on != on {
		e.trouble[t] = trouble{on, now}
	}
}

// setPathTrouble sets a trouble of p, and what follows from it for the disk.
func (e *Engine) setPathTrouble(now time.Duration, p *path, t Trouble, on bool) {
	if p.trouble[t].on == on {
		return
	}
	p.trouble[t] = trouble{on, now}
	e.sumUpTroubles(now)
	if on && (t == Replaced || t == Refusing) && e.down() {
		o := Outcome{Result: Down}
		if e.trouble[Refusing].on && !e.trouble[Replaced].on {
			o = e.refusal
		}
		e.failAll(now, o)
	}
}

// sumUpTroubles makes those of the disk from those of its paths. Paths to a target
// that is not in use are missed when they are in trouble, and else do not count.
func (e *Engine) sumUpTroubles(now time.Duration) {
	fine, ill, foreign := 0, 0, 0
	var any [pathTroubles]bool
	for i := range e.paths {
		p := &e.paths[i]
		switch {
		case p.ill():
			ill++
		case !p.standby:
			fine++
		}
		if p.standby {
			foreign++
			continue
		}
		for t := range p.trouble {
			any[t] = any[t] || p.trouble[t].on
		}
		if p.trouble[Replaced].on || p.trouble[Refusing].on {
			foreign++
		}
	}
	for t := range pathTroubles {
		// That another disk answers over one path says nothing of the disk
		// while it is only silent over another.
		e.setTrouble(now, t, any[t] && fine == 0 && (t != Replaced && t != Refusing || foreign == len(e.paths)))
	}
	e.setTrouble(now, PathDown, fine > 0 && ill > 0)
}

// Trouble reports whether the disk has trouble t, and since when.
func (e *Engine) Trouble(t Trouble) (since time.Duration, on bool) {
	return e.trouble[t].since, e.trouble[t].on
}

// down reports whether requests fail at once.
func (e *Engine) down() bool {
	return e.trouble[Dead].on || e.trouble[Replaced].on || e.trouble[Refusing].on
}

// refused is the outcome of a request of a disk that is down.
func (e *Engine) refused(r *Request) Outcome {
	if e.trouble[Refusing].on && !e.trouble[Replaced].on {
		return e.refusal
	}
	return Outcome{Result: Down, LBA: r.LBA}
}

// Drops count received frames that were freed at once, by reason. None of them
// touched a request.
type Drops struct {
	Short       uint64 `json:"short"`       // shorter than a header
	EtherType   uint64 `json:"etherType"`   // not AoE
	Request     uint64 `json:"request"`     // not a response
	Version     uint64 `json:"version"`     // of AoE, not 1
	Source      uint64 `json:"source"`      // not from the disk's target
	Address     uint64 `json:"address"`     // another disk, or a wildcard
	Destination uint64 `json:"destination"` // not to us
	Tag         uint64 `json:"tag"`         // never given out, or long ago
	Late        uint64 `json:"late"`        // of a frame that was answered already
	Command     uint64 `json:"command"`     // not the one that was sent with that tag
	Truncated   uint64 `json:"truncated"`   // shorter than what it has to hold
	Announce    uint64 `json:"announce"`    // announcements: noticed, not kept
}

// Sum is the number of frames freed at once.
func (d Drops) Sum() uint64 {
	return d.Short + d.EtherType + d.Request + d.Version + d.Source + d.Address + d.Destination +
		d.Tag + d.Late + d.Command + d.Truncated + d.Announce
}

// Counters count since the engine was made.
type Counters struct {
	Requests      uint64 `json:"requests"` // submitted
	Failed        uint64 `json:"failed"`   // of them
	Sent          uint64 `json:"sent"`     // frames, all
	Retransmitted uint64 `json:"retransmitted"`
	Probes        uint64 `json:"probes"`   // control frames, not counted as retransmitted
	Answered      uint64 `json:"answered"` // frames of requests
	Timeouts      uint64 `json:"timeouts"`
	Fast          uint64 `json:"fastRetransmits"` // taken for lost because later ones were answered
	Spurious      uint64 `json:"spurious"`        // answers to a copy that was sent again in vain
	TargetErrors  uint64 `json:"targetErrors"`    // answers with E
	ATAErrors     uint64 `json:"ataErrors"`
	Ordered       uint64 `json:"ordered"`     // requests that waited for an overlapping one (H3)
	Fences        uint64 `json:"fences"`      // writes finished with copies unaccounted for (H1)
	Fenced        uint64 `json:"fenced"`      // writes that waited for such copies
	Suspensions   uint64 `json:"suspensions"` // times data was held back for an IDENTIFY
	Resizes       uint64 `json:"resizes"`
	Failovers     uint64 `json:"failovers"`     // times a path failed and others took over
	Redemptions   uint64 `json:"redemptions"`   // times a path came back
	Cut           uint64 `json:"cut"`           // frames sent in parts, because a path carries less
	Refused       uint64 `json:"refused"`       // frames that were too long for the target
	Turns         uint64 `json:"targetChanges"` // times another target was turned to
	Forgotten     uint64 `json:"forgotten"`     // flushes after which something acknowledged may be missing
	NoSlot        uint64 `json:"noSlot"`        // times the slots were used up by fences
	WindowCuts    uint64 `json:"windowCuts"`
	Drops         Drops  `json:"drops"`
}

// Counters are the counters as of now.
func (e *Engine) Counters() Counters {
	c := e.counters
	c.WindowCuts = e.window.cuts
	return c
}

// A Gauge is a measured round trip of one class of commands.
type Gauge struct {
	Samples uint64        `json:"samples"`
	Smooth  time.Duration `json:"smoothNs"`
	Var     time.Duration `json:"varNs"`
	Least   time.Duration `json:"leastNs"`
	Most    time.Duration `json:"mostNs"`
	Timeout time.Duration `json:"timeoutNs"` // before back-off
}

// Gauges are what is measured and regulated, as of a moment. The network is
// measured with query configs, which no disk has a part in: what a read takes
// longer than that is service time (H6).
type Gauges struct {
	Read     Gauge `json:"read"`
	Write    Gauge `json:"write"`
	Flush    Gauge `json:"flush"`
	Network  Gauge `json:"network"`
	Window   int   `json:"window"`   // frames that may be in flight
	InFlight int   `json:"inFlight"` // frames that are
	Buffers  int   `json:"buffers"`  // the target's buffer count
	FencesUp int   `json:"fencesUp"` // writes whose copies are unaccounted for
}

// Gauges are the gauges as of now. Those of the commands are the first path's
// that has measured any; see [Engine.Path] for each.
func (e *Engine) Gauges() Gauges {
	return Gauges{
		Read: e.gauge(classRead), Write: e.gauge(classWrite), Flush: e.gauge(classFlush), Network: e.gauge(classNetwork),
		Window: e.window.limit(), InFlight: e.inFlight, Buffers: e.window.buffers, FencesUp: e.fence.up,
	}
}

func (e *Engine) gauge(c class) Gauge {
	for i := range e.paths {
		if p := &e.paths[i]; p.rtt[c].samples > 0 {
			return e.pathGauge(p, c)
		}
	}
	return e.pathGauge(&e.paths[0], c)
}

func (e *Engine) pathGauge(p *path, c class) Gauge {
	r := &p.rtt[c]
	return Gauge{r.samples, r.srtt, r.rttvar, r.least, r.most, e.timeout(p, c, 0)}
}

// A PathState is how one path is.
type PathState struct {
	Port     int
	Remote   frame.MAC // all zero: not known yet
	Usable   bool      // data is sent over it
	Suspect  bool      // but only if there is no other
	Standby  bool      // another target has the disk there than the one in use
	Instance frame.Instance
	Sectors  uint64 // of data that a frame over it carries
	InFlight int

	Read, Write, Network Gauge

	trouble [pathTroubles]trouble
}

// Trouble reports whether the path has trouble t, and since when.
func (s *PathState) Trouble(t Trouble) (since time.Duration, on bool) {
	if t >= pathTroubles {
		return 0, false
	}
	return s.trouble[t].since, s.trouble[t].on
}

// Paths is how many paths there are.
func (e *Engine) Paths() int { return len(e.paths) }

// Path is how the i-th is.
func (e *Engine) Path(i int) PathState {
	p := &e.paths[i]
	return PathState{
		Port: p.port, Remote: p.remote, Usable: p.usable(), Suspect: p.suspect, InFlight: p.inFlight,
		Standby: p.standby, Instance: p.instance, Sectors: p.most(),
		Read: e.pathGauge(p, classRead), Write: e.pathGauge(p, classWrite), Network: e.pathGauge(p, classNetwork),
		trouble: p.trouble,
	}
}
