package initiator

import (
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A Config says which disk to use, and how. Link and Addr are needed.
type Config struct {
	// Link is the port to use; only Plan does without. From Open until Close nobody else may receive
	// from it; it is the caller's to close.
	Link link.Link

	// Others are more ports to the same disk, for more paths to it: what is sent
	// is spread over all paths that work, by how long they take, and one that
	// does not answer is left out until it does. Each target's port that
	// shows the disk behind one of ours is a path. Ports of
	// another target that has the same disk are not used, but see Failover.
	// What is said of Link holds for each.
	Others []Port

	// Addr is the disk's; no wildcard.
	Addr frame.Addr

	// Serial, if not empty, is the serial number that the disk must have (H15).
	// Empty pins whatever disk is found at Open. Other disks with the same
	// address are then not used, and make Open fail if they answer as well.
	Serial string

	// MaxRequest is the longest read or write in bytes that is one request, a
	// multiple of 4096. Longer ones of ReadAt and its like are split. Zero
	// means 128 KiB; negative is refused.
	MaxRequest int

	// Depth is how many requests can be admitted at once in normal times.
	// Zero means 64; negative is refused.
	Depth int

	// ReservedRequests is how many requests of MaxRequest bytes are guaranteed
	// to be under way at once when all other memory is gone. Zero means 1,
	// which is enough to get out of any shortage; negative is refused.
	ReservedRequests int

	// Window is the most frames in flight, within the target's buffer count.
	// Zero means 256; negative is refused.
	Window int

	// LockMemory locks all buffers into memory: without it they may be
	// swapped out, perhaps to the disk that is made of them.
	LockMemory bool

	// LockThread gives the disk's loop a thread of its own.
	LockThread bool

	// OnThread, if not nil, is called on the thread of the disk's loop before
	// anything else is done there: to make it a real-time thread, for
	// instance. The thread is then the loop's own, and ends with it.
	OnThread func()

	// FailNormal is reserve.Config.FailNormal: ordinary allocation fails when
	// it says so. For tests and drills. Nil means never.
	FailNormal func() bool

	// DeadTime is how long the target may be silent before all requests fail;
	// when it answers again, the disk is up again. Zero means 180 s, negative
	// for ever: right for a disk that is swapped to.
	DeadTime time.Duration

	// Failover permits another target that has the same disk to be used when
	// the first has been silent for so long, and says how long. Without it
	// only one target is used, unless the other takes over its MAC: two do not
	// know of each other's requests, and a write that the first still has in
	// hand, being slow rather than dead, would undo newer ones (H1). Set it
	// only where the first is dead for sure by then, or locked out of the
	// storage. Zero means never; negative is refused.
	Failover time.Duration

	// RTOMin is the least retransmission timeout. Zero means 1 ms; negative is
	// refused. Others are in [engine.Config].
	RTOMin time.Duration

	// FrameLife is the longest time that a frame can stay alive on its way to
	// the target: a write waits for it if an earlier one to the same sectors
	// was sent more than once and not every copy was answered (H1). Zero
	// means 1 s; negative is refused.
	FrameLife time.Duration

	// Overtake is the longest time by which a frame can arrive after another
	// that was sent later: it shortens the wait for FrameLife; see
	// [engine.Config]. Zero means 20 ms, negative that frames may overtake each
	// other at will.
	Overtake time.Duration

	// Probe is how often an undisturbed target is asked whether it is there.
	// Zero means 10 s, negative never.
	Probe time.Duration

	// Rand makes the tags unpredictable (H22). Nil means a generator seeded by
	// the system.
	Rand rand.Source

	// Tags are told which tags are outstanding, so that the kernel can drop
	// other frames: a guard.Table, whose filter the link has. Nil tells nobody.
	Tags Tags

	// Pulse is told by the loop that it works, and whether memory is short: a
	// guard.Pulse. Nil tells nobody.
	Pulse Pulse
}

// Tags are what Config.Tags is: see [engine.Tags].
type Tags interface {
	engine.Tags

	// Ask is called before the disk is looked for: until SetPaths, any answer
	// of its address is wanted.
	Ask()
}

// A Pulse is what Config.Pulse is. Its methods are called by the disk's loop:
// they must not block or allocate.
type Pulse interface {
	// Beat is called after each turn, when everything is received and sent.
	// short tells that the disk has had to do with reserved memory.
	Beat(short bool)

	// Interval is the longest time between two calls that is wanted.
	Interval() time.Duration

	// Stop is called when the loop ends: there is nothing to be told any more.
	Stop()
}

// The defaults of Config.
const (
	DefaultMaxRequest = 128 << 10
	DefaultDepth      = 64
	DefaultWindow     = 256
)

// pageBytes is the unit of splitting (H21): pages of memory, and blocks of file
// systems, must not straddle frames.
const pageBytes = 4096

func (c Config) withDefaults() (Config, error) {
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"MaxRequest", &c.MaxRequest, DefaultMaxRequest},
		{"Depth", &c.Depth, DefaultDepth},
		{"ReservedRequests", &c.ReservedRequests, 1},
		{"Window", &c.Window, DefaultWindow},
	} {
		if *n.value == 0 {
			*n.value = n.zero
		}
		if *n.value < 0 {
			return c, fmt.Errorf("initiator: Config.%s is negative", n.name)
		}
	}
	switch {
	case c.Addr.IsWildcard():
		return c, fmt.Errorf("initiator: %v may be more than one disk: Discover finds them", c.Addr)
	case c.MaxRequest%pageBytes != 0:
		return c, fmt.Errorf("initiator: Config.MaxRequest %d is not a multiple of %d", c.MaxRequest, pageBytes)
	case len(c.Serial) > frame.SerialLen:
		return c, fmt.Errorf("initiator: Config.Serial is longer than the %d bytes that ATA has", frame.SerialLen)
	}
	if c.Rand == nil {
		c.Rand = rand.NewPCG(rand.Uint64(), rand.Uint64())
	}
	return c, nil
}

// Buffers in the receive ring's stock. It holds what is received in one turn,
// not what is in flight: the link has a queue of its own.
const (
	stockNormal   = 64
	stockReserved = 16
)

// Plan is the memory that a disk takes whose frames carry that many sectors on a
// link of that MTU, as a bill that can be printed (reserve.Plan). Zero sectors
// mean as many as the MTU allows. [Disk.Plan] is that of an open disk.
func (c Config) Plan(mtu, sectors int) (reserve.Plan, error) {
	c, err := c.withDefaults()
	if err != nil {
		return reserve.Plan{}, err
	}
	if sectors <= 0 {
		sectors = payloadSectors(frame.SectorsPerFrame(mtu))
	}
	if sectors < 1 {
		return reserve.Plan{}, fmt.Errorf("initiator: no sector fits a frame at an MTU of %d", mtu)
	}
	return reserve.Sizing{
		MTU:              mtu,
		Links:            1 + len(c.Others),
		Requests:         c.ReservedRequests,
		NormalRequests:   max(c.Depth, c.ReservedRequests),
		FramesPerRequest: framesFor(c.MaxRequest, sectors),
		Stock:            stockReserved,
		NormalStock:      stockNormal,
		Control:          -1, // the engine's control frames are made at start and never freed
		Lock:             c.LockMemory,
		Headroom:         frame.ATADataOffset,
	}.Plan()
}

// engineConfig is the part of c that concerns the engine.
func (c Config) engineConfig() engine.Config {
	return engine.Config{
		Addr:      c.Addr,
		Window:    c.Window,
		RTOMin:    c.RTOMin,
		DeadTime:  c.DeadTime,
		Failover:  c.Failover,
		FrameLife: c.FrameLife,
		Overtake:  c.Overtake,
		Probe:     c.Probe,
		Rand:      c.Rand,
		Tags:      c.tags(),
	}
}

// tags are those of the ports.
func (c Config) tags() (all []engine.Tags) {
	for _, p := range c.ports() {
		all = append(all, p.Tags)
	}
	return all
}
