package engine

import (
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame"
)

// A Config is what an engine is made from. Durations that are zero have the
// default given; negative ones are refused unless it says what they mean.
type Config struct {
	Addr     frame.Addr // of the disk; no wildcard
	Paths    []Path     // ways to it, from 1 to MaxPaths
	Buffers  int        // the target's buffer count; less than one counts as one
	Identity Identity   // pinned: a target that shows another one is not used

	// FrameLen is how long the longest frame of a request is. A path is used
	// only after an IDENTIFY padded to it was answered (H15); later a path may
	// carry less, and frames are sent over it in parts. 0: 60 bytes, and frames
	// are never sent in parts.
	FrameLen int

	Slots  int // frames in flight and fenced writes, a power of two; 0: 4096
	Window int // most frames in flight; 0: 256

	RTOFirst time.Duration // retransmission timeout before the first measurement; 0: 100 ms
	RTOMin   time.Duration // least retransmission timeout; 0: 1 ms
	RTOMax   time.Duration // most; 0: 1 s

	// FlushRTO is the least retransmission timeout of a flush, which may take
	// a disk seconds (H6); before the first measurement it is four times
	// that, and it backs off to at most 30 s. 0: 500 ms.
	FlushRTO time.Duration

	// Silence is how long the target may leave everything unanswered before
	// data is held back until it has shown its identity again (H15). 0: 1 s.
	Silence time.Duration

	// DeadTime is how long a frame is tried for. A target silent for so long
	// is down: all requests fail, until it answers again. 0: 180 s; negative:
	// for ever.
	DeadTime time.Duration

	// Failover, if not zero, is how long every path to the target must have
	// been silent, or our ports down, until another target that has the same
	// disk is used (see onInstance). Whoever sets it vouches for that the first
	// is dead then: what it still does later can undo newer writes (H1). Less
	// than FrameLife is FrameLife. 0: never.
	Failover time.Duration

	// FrameLife is the longest time that a frame sent can stay alive on its
	// way before it reaches the target (H1). IEEE 802.1D recommends that
	// bridges discard a frame after 1 s. 0: 1 s.
	FrameLife time.Duration

	// Overtake is the longest time by which a frame can arrive after another
	// that was sent later. Ethernet keeps the order of the frames from one
	// station to another: IEEE 802.1Q permits "a negligible rate" of
	// reordering, and what balances by frame instead of by address reorders
	// by micro- or milliseconds. So when a frame is answered that was sent
	// after a copy of a write, that copy is lost, or arrives within Overtake,
	// and the fence need not stand for FrameLife. 0: 20 ms; negative: frames
	// may overtake each other at will.
	Overtake time.Duration

	// Probe is how often an undisturbed target is asked for its configuration:
	// that finds it dead while nothing is read or written, and measures the
	// network without the disk. 0: 10 s; negative: never.
	Probe time.Duration

	Rand rand.Source // first generations of the tags (H22); required

	// Tags, by port, are told which tags are outstanding. Nil ones, and those
	// that are not there, tell nobody.
	Tags []Tags
}

// MaxPaths is how many paths a disk can have.
const MaxPaths = 8

// A Path is one way to a disk: a port of ours, and one of the target's.
type Path struct {
	Port  int       // of ours, from 0: what Receive and Drain are told
	Local frame.MAC // of our port
	// Remote is of the target's port. All zero asks everybody, until somebody
	// answers.
	Remote frame.MAC
	// Proven tells that the disk was identified over this path a moment ago.
	// At least one path has to be. The others are used when they have shown
	// the same disk (H15).
	Proven bool
}

func (c Config) withDefaults() (Config, error) {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.RTOFirst, 100*time.Millisecond)
	def(&c.RTOMin, time.Millisecond)
	def(&c.RTOMax, time.Second)
	def(&c.FlushRTO, 500*time.Millisecond)
	def(&c.Silence, time.Second)
	def(&c.DeadTime, 180*time.Second)
	def(&c.FrameLife, time.Second)
	def(&c.Overtake, 20*time.Millisecond)
	def(&c.Probe, 10*time.Second)
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.Window == 0 {
		c.Window = 256
	}
	for _, v := range []time.Duration{c.RTOFirst, c.RTOMin, c.RTOMax, c.FlushRTO, c.Silence, c.FrameLife, c.Failover} {
		if v < 0 {
			return c, fmt.Errorf("engine: %v is negative: only DeadTime, Overtake and Probe may be", v)
		}
	}
	switch {
	case c.RTOMin > c.RTOMax:
		return c, fmt.Errorf("engine: RTOMin %v above RTOMax %v", c.RTOMin, c.RTOMax)
	case c.Slots < 8 || c.Slots > 1<<16 || c.Slots&(c.Slots-1) != 0:
		return c, fmt.Errorf("engine: %d slots: want a power of two from 8 to 65536", c.Slots)
	case c.Window < 1 || c.Window > c.Slots/2:
		return c, fmt.Errorf("engine: window of %d frames: want 1 to %d, half of the slots", c.Window, c.Slots/2)
	case c.Addr.IsWildcard():
		return c, fmt.Errorf("engine: %v is not the address of one disk", c.Addr)
	case c.Rand == nil:
		return c, fmt.Errorf("engine: Config.Rand is required")
	}
	for _, t := range c.Tags {
		if t != nil && t.Slots() != c.Slots {
			return c, fmt.Errorf("engine: Config.Tags has room for %d slots: want %d", t.Slots(), c.Slots)
		}
	}
	return c, c.checkPaths()
}

// fullSectors is how many sectors the longest frame of a request has; 0 if that
// is not known.
func (c Config) fullSectors() uint64 {
	return uint64(max(c.FrameLen-frame.ATADataOffset, 0) / frame.SectorSize)
}

func (c Config) checkPaths() error {
	if len(c.Paths) < 1 || len(c.Paths) > MaxPaths {
		return fmt.Errorf("engine: %d paths: want 1 to %d", len(c.Paths), MaxPaths)
	}
	proven := false
	for _, p := range c.Paths {
		if p.Remote.IsMulticast() {
			return fmt.Errorf("engine: %v is not the address of one station", p.Remote)
		}
		if p.Port < 0 || p.Port >= MaxPaths {
			return fmt.Errorf("engine: port %d: want 0 to %d", p.Port, MaxPaths-1)
		}
		if p.Proven && p.Remote == (frame.MAC{}) {
			return fmt.Errorf("engine: nobody has proven a path to an unknown port")
		}
		proven = proven || p.Proven
	}
	if !proven {
		return fmt.Errorf("engine: no path is proven")
	}
	return nil
}
