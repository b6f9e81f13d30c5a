package target

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/target/store"
)

// Defaults of Config.
const (
	// DefaultBufferCount keeps half a megabyte of 8 KiB requests under way for
	// each disk, four tenths of a millisecond of 10 Gbit/s, and is twice the
	// depth at which a disk in memory is as fast as it gets.
	DefaultBufferCount = 64
	// DefaultWorkers is how many reads of a disk wait for the device at once,
	// and how many writes if it is one that takes several.
	DefaultWorkers = 8
	// DefaultBatch frames are taken from a link at a time: as many as one
	// initiator may send.
	DefaultBatch = 64
	// DefaultMaxMTU is that of jumbo frames.
	DefaultMaxMTU = 9000
	// DefaultWatch is how long a disk that has grown remains unnoticed.
	DefaultWatch = time.Second
	// DefaultWildcardReplies a second are enough for sixty discoveries of
	// sixteen disks.
	DefaultWildcardReplies = 1000
	// DefaultRecentWrites are those of a sixth of a second at the highest
	// rate seen, and take 640 KiB.
	DefaultRecentWrites = 16 << 10
)

// maxBufferCount is half of what the 16 bits of a config reply can tell, because
// twice as many are reserved.
const maxBufferCount = 1<<15 - 1

// Config is what holds for all disks and links of a server. The zero value is
// good.
type Config struct {
	// BufferCount is the number of requests that each disk advertises to hold,
	// for all initiators together; twice as many are reserved. Zero means
	// DefaultBufferCount; negative, or more than 32767, is refused.
	BufferCount int
	// Workers of each disk wait for its device: so many for reads, and as many
	// again for writes, one where the store is written by one at a time
	// (store.Info.OneWriter), or as many as it wants if that is more
	// (store.Info.Writers). Zero means DefaultWorkers; negative is refused.
	Workers int
	// Batch is the most frames taken from a link at a time. Zero means
	// DefaultBatch; negative is refused.
	Batch int
	// MaxMTU is the largest MTU of a link that is made use of: what a buffer
	// holds. Zero means DefaultMaxMTU; less than 1500, which every config
	// reply needs, is refused.
	MaxMTU int
	// WildcardReplies a second is the most that requests to a wildcard address
	// are answered with on each link, in answers of disks: one frame with a
	// forged sender makes every disk send one (H22). Zero means
	// DefaultWildcardReplies; negative means no limit.
	WildcardReplies int
	// RecentWrites is how many writes each disk remembers for ten seconds, to
	// answer late copies of them instead of carrying them out (H1). Zero
	// means DefaultRecentWrites; negative remembers none.
	RecentWrites int
	// Watch is the time between looks at the sizes and failures of disks.
	// Zero means DefaultWatch; negative never looks, and logs no failures.
	Watch time.Duration
	// WireEdits is who may edit config strings, masks and reserve lists over
	// the wire. Zero is EditsListed.
	WireEdits WireEdits
	// Instance is what IDENTIFY tells of this server, on every link and disk:
	// initiators use ports that show different ones not together, because
	// neither server would know of what the other was asked (H1). Zero takes a
	// random one.
	Instance frame.Instance
	// Keeper keeps config strings, masks and reserve lists through a restart.
	// Nil keeps them in memory only.
	Keeper Keeper
	// Log is told of events: disks, links, failures; never of frames. Nil
	// tells nobody.
	Log *slog.Logger
}

// withDefaults fills in what is zero and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name     string
		v        *int
		def, min int
		max      int
	}{
		{"BufferCount", &c.BufferCount, DefaultBufferCount, 1, maxBufferCount},
		{"Workers", &c.Workers, DefaultWorkers, 1, 1024},
		{"Batch", &c.Batch, DefaultBatch, 1, 4096},
		{"MaxMTU", &c.MaxMTU, DefaultMaxMTU, 1500, 1<<16 - 1},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.min || *f.v > f.max {
			return c, fmt.Errorf("target: %s is %d: want %d to %d, or 0 for %d", f.name, *f.v, f.min, f.max, f.def)
		}
	}
	if c.WildcardReplies == 0 {
		c.WildcardReplies = DefaultWildcardReplies
	}
	if c.RecentWrites == 0 {
		c.RecentWrites = DefaultRecentWrites
	}
	if c.Watch == 0 {
		c.Watch = DefaultWatch
	}
	if c.WireEdits == 0 {
		c.WireEdits = EditsListed
	}
	if c.WireEdits > EditsAny {
		return c, fmt.Errorf("target: WireEdits: there is no %s", c.WireEdits)
	}
	for c.Instance == 0 {
		c.Instance = frame.Instance(rand.Uint64())
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// A Disk says what to serve, and as what. Addr and Store are required.
type Disk struct {
	// Addr is the disk's own; a wildcard is refused.
	Addr frame.Addr
	// Store is what the disk is made of. The server owns it from when AddDisk
	// has returned nil, and closes it when the disk is removed.
	Store store.Store
	// Mode is what an answered write is worth. Zero is ModeSync.
	Mode Mode
	// ReadOnly refuses writes, also if the store could take them.
	ReadOnly bool
	// Serial is what IDENTIFY tells, at most 20 printable characters. Empty
	// derives it from the store's identity, so that every server of the same
	// store says the same; a store without identity gets its address.
	Serial string
	// Model is what IDENTIFY tells, at most 40 printable characters. Empty
	// means "AoE disk".
	Model string
	// BufferCount is Config.BufferCount for this disk. Zero means that of the
	// server; negative is refused.
	BufferCount int
	// Length in bytes of what of the store is served, a multiple of
	// frame.SectorSize and not more than there is. Zero is all of it, growing
	// with the store; negative is refused.
	Length int64
	// WireEdits is Config.WireEdits for this disk. Zero means that of the
	// server.
	WireEdits WireEdits
	// Given is what the disk begins with: see there for what becomes of it
	// when something else was set since.
	Given
}

// Validate refuses what AddDisk would refuse without looking into the store.
func (d Disk) Validate() error {
	switch {
	case d.Addr.IsWildcard():
		return fmt.Errorf("target: a disk cannot have the address %s: 65535 and 255 are wildcards", d.Addr)
	case d.Store == nil:
		return fmt.Errorf("target: %s has no store", d.Addr)
	case d.Mode >= numModes:
		return fmt.Errorf("target: %s: there is no %s", d.Addr, d.Mode)
	case d.Mode == ModeDirect && !d.Store.Info().Direct:
		return fmt.Errorf("target: %s: mode direct needs a store that goes past the page cache: open it with store.Config.Direct", d.Addr)
	case d.WireEdits > EditsAny:
		return fmt.Errorf("target: %s: there is no %s", d.Addr, d.WireEdits)
	case d.BufferCount < 0 || d.BufferCount > maxBufferCount:
		return fmt.Errorf("target: %s: BufferCount is %d: want 1 to %d, or 0 for the server's", d.Addr, d.BufferCount, maxBufferCount)
	case d.Length < 0 || d.Length%frame.SectorSize != 0:
		return fmt.Errorf("target: %s: a length of %d bytes: want a multiple of %d, or 0 for all there is", d.Addr, d.Length, frame.SectorSize)
	}
	if err := (Settings{ConfigString: d.ConfigString, Mask: d.Mask}).validate(); err != nil {
		return fmt.Errorf("target: %s: %w", d.Addr, err)
	}
	if err := printable(d.Serial, frame.SerialLen); err != nil {
		return fmt.Errorf("target: %s: serial %w", d.Addr, err)
	}
	if err := printable(d.Model, frame.ModelLen); err != nil {
		return fmt.Errorf("target: %s: model %w", d.Addr, err)
	}
	return nil
}

// printable refuses what would not survive IDENTIFY, whose texts are ASCII from
// space to tilde (ATA8-ACS).
func printable(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%q has %d characters: at most %d", s, len(s), most)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("%q: only printable ASCII", s)
		}
	}
	return nil
}
