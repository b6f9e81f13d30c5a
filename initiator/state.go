package initiator

import (
	"fmt"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A Condition is how a disk is, in a word.
type Condition string

// The conditions.
const (
	Up       Condition = "up"
	Degraded Condition = "degraded" // works or tries to, with a reason to look at
	Standby  Condition = "standby"  // of a path: to another target than the one in use
	IsDown   Condition = "down"     // requests fail at once
	Closed   Condition = "closed"
)

// A State is how a disk is, and why.
type State struct {
	Condition Condition `json:"condition"`
	// Why is the gravest trouble, empty if there is none, and Since when it
	// began.
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
	// Troubles are all of them, the gravest first.
	Troubles []Trouble `json:"troubles,omitempty"`
}

// A Trouble is a reason why a disk is not simply up.
type Trouble struct {
	What  string    `json:"what"`
	Since time.Time `json:"since"`
}

// gravity lists the engine's troubles, the gravest first.
var gravity = [...]struct {
	trouble   engine.Trouble
	condition Condition
	what      string
}{
	{engine.Replaced, IsDown, "another disk answers: its serial number is not the one that was pinned"},
	{engine.Refusing, IsDown, "the target refuses to identify the disk"},
	{engine.Dead, IsDown, "the target did not answer for the dead time"},
	{engine.LinkDown, Degraded, "the port is down"},
	{engine.SmallMTU, Degraded, "the port's MTU is smaller than when the disk was opened: frames are sent in parts, or over another path"},
	{engine.ShortFrames, Degraded, "long frames do not get through: the target, or a switch on the way, has a smaller MTU than when the disk was opened"},
	{engine.Silent, Degraded, "the target does not answer"},
	{engine.PathDown, Degraded, "a path to the disk is out of use: aoe stat -v says which"},
	{engine.Shrunk, Degraded, "the disk is smaller than it was when it was opened"},
}

// Stats is everything that is counted and measured. Counters count since Open.
type Stats struct {
	Addr    frame.Addr  `json:"address"`
	Target  frame.MAC   `json:"target"`
	State   State       `json:"state"`
	Sectors uint64      `json:"sectors"`
	Payload int         `json:"payloadBytes"` // of data in a frame
	Paths   []PathStats `json:"paths"`

	engine.Counters
	engine.Gauges
	Reserve reserve.Stats `json:"reserve"`
	Link    link.Stats    `json:"link"` // the first port's
}

// PathStats is how one path to a disk is.
type PathStats struct {
	Interface string    `json:"interface"`
	Target    frame.MAC `json:"target"` // all zero: nobody has answered there yet
	// Instance is which target it was that showed the disk over it.
	Instance frame.Instance `json:"instance"`
	// Condition is Up, Degraded (used only where there is no better one),
	// IsDown (not used until it has shown the disk again) or Standby.
	Condition Condition `json:"condition"`
	// Payload is how much data a frame over it carries, if more is to be sent.
	Payload  int        `json:"payloadBytes"`
	Why      string     `json:"why,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	InFlight int        `json:"inFlight"`

	Read    engine.Gauge `json:"read"`
	Write   engine.Gauge `json:"write"`
	Network engine.Gauge `json:"network"`
	Link    link.Stats   `json:"link"`
}

// A snapshot is what the loop tells of the engine.
type snapshot struct {
	counters engine.Counters
	gauges   engine.Gauges
	troubles [len(gravity)]struct {
		since time.Duration
		on    bool
	}
	paths  [engine.MaxPaths]engine.PathState
	nPaths int
}

// takeSnapshot is the loop's side: it writes memory of the disk, not of who
// asked.
func (d *Disk) takeSnapshot() {
	d.snapshotMu.Lock()
	s := &d.snapshot
	s.counters, s.gauges = d.engine.Counters(), d.engine.Gauges()
	for i, g := range gravity {
		s.troubles[i].since, s.troubles[i].on = d.engine.Trouble(g.trouble)
	}
	s.nPaths = d.engine.Paths()
	for i := range s.nPaths {
		s.paths[i] = d.engine.Path(i)
	}
	d.snapshotMu.Unlock()
	select {
	case d.snapshotReady <- struct{}{}:
	default:
	}
}

// look asks the loop for a snapshot.
func (d *Disk) look() (s snapshot, ended bool) {
	d.askMu.Lock()
	defer d.askMu.Unlock()
	select {
	case <-d.loopEnded:
		return d.latest(), true
	default:
	}
	d.inbox.ask(true, false)
	select {
	case <-d.snapshotReady:
		return d.latest(), false
	case <-d.loopEnded:
		return d.latest(), true
	}
}

// latest is the last snapshot. The loop may be taking another, its last one,
// that nobody asked for.
func (d *Disk) latest() snapshot {
	d.snapshotMu.Lock()
	defer d.snapshotMu.Unlock()
	return d.snapshot
}

// Stats is a snapshot. It asks the loop, so it must not be called by a callback.
func (d *Disk) Stats() Stats {
	s, ended := d.look()
	return Stats{
		Addr:     d.cfg.Addr,
		Target:   d.target.MAC,
		State:    d.state(s, ended),
		Sectors:  d.sectors.Load(),
		Payload:  d.Payload(),
		Paths:    d.paths(s),
		Counters: s.counters,
		Gauges:   s.gauges,
		Reserve:  d.reserveStats(),
		Link:     d.cfg.Link.Stats(),
	}
}

// paths are the stats of the paths.
func (d *Disk) paths(s snapshot) (all []PathStats) {
	for i := range s.nPaths {
		p := &s.paths[i]
		l := d.ports[p.Port].link
		st := PathStats{
			Interface: l.State().Name, Target: p.Remote, Instance: p.Instance, Condition: Up, Payload: int(p.Sectors) * frame.SectorSize, InFlight: p.InFlight,
			Read: p.Read, Write: p.Write, Network: p.Network, Link: l.Stats(),
		}
		switch {
		case p.Standby:
			st.Condition, st.Why = Standby, d.whyStandby()
		case !p.Usable:
			st.Condition, st.Why = IsDown, "the disk has to be identified over it"
		case p.Suspect:
			st.Condition, st.Why = Degraded, "it has not answered in time"
		}
		for _, g := range gravity {
			if since, on := p.Trouble(g.trouble); on {
				at := d.start.Add(since)
				st.Why, st.Since = g.what, &at
				switch st.Condition {
				case Up:
					st.Condition = Degraded
				case Standby:
					st.Condition = IsDown
				}
				break
			}
		}
		all = append(all, st)
	}
	return all
}

// whyStandby is why paths to another target are not used.
func (d *Disk) whyStandby() string {
	if d.cfg.Failover > 0 {
		return fmt.Sprintf("another target of the same disk: used when the first has been silent for %v", d.cfg.Failover)
	}
	return "another target of the same disk: not used as long as the first may be alive, see aoe attach --failover"
}

// State is how the disk is and why. It asks the loop, so it must not be called
// by a callback.
func (d *Disk) State() State {
	s, ended := d.look()
	return d.state(s, ended)
}

func (d *Disk) state(s snapshot, ended bool) State {
	st := State{Condition: Up, Since: d.start}
	if ended {
		st.Condition = Closed
		if d.linkErr != nil {
			st.Why = "the link failed: " + d.linkErr.Error()
		}
	}
	for i, g := range gravity {
		if !s.troubles[i].on {
			continue
		}
		t := Trouble{What: g.what, Since: d.start.Add(s.troubles[i].since)}
		if len(st.Troubles) == 0 && !ended {
			st.Condition, st.Why, st.Since = g.condition, t.What, t.Since
		}
		st.Troubles = append(st.Troubles, t)
	}
	return st
}
