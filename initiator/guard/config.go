package guard

import (
	"fmt"
	"time"
)

// A Config says what to guard, and how. Interface is needed.
type Config struct {
	// Interface is its name, in the network namespace of the calling thread.
	Interface string

	// Allow are the foreign frames that pass even in crunch. Nil: none.
	Allow []Rule

	// Stale is how old the last sign of life of a disk's loop may be. Zero means
	// 200 ms; less than 10 ms and more than 2 s are refused.
	Stale time.Duration

	// LowBytes is how much of the machine's memory is available (MemAvailable of
	// proc_meminfo(5)) when it becomes short; it is short until half as much
	// again is. Zero means an eighth of all memory, between 4 MiB and 256 MiB.
	// It is short, too, while less is free than halfway between the kernel's
	// own min and low watermarks: below low the kernel begins to free pages,
	// and below min everybody waits for that but interrupts. Negative means
	// that memory is not looked at.
	LowBytes int64

	// Generic does without driver mode: for tests and comparisons.
	Generic bool
}

// DefaultStale is what zero means in Config.Stale.
const DefaultStale = 200 * time.Millisecond

func (c Config) withDefaults() (Config, error) {
	if c.Stale == 0 {
		c.Stale = DefaultStale
	}
	if c.Stale < 10*time.Millisecond || c.Stale > 2*time.Second {
		return c, fmt.Errorf("guard: Config.Stale %v: want 10 ms to 2 s", c.Stale)
	}
	if len(c.Allow) > MaxRules {
		return c, fmt.Errorf("guard: %d rules: at most %d", len(c.Allow), MaxRules)
	}
	return c, nil
}

// A Mode is where a program runs.
type Mode string

// The modes of a guard, the best last, and the kinds of socket filters.
const (
	None    Mode = "none"
	Generic Mode = "generic" // XDP behind the driver: the frame has cost memory already
	Driver  Mode = "driver"  // XDP in the driver: a dropped frame's page goes back to the card
	Classic Mode = "classic" // socket filter that knows AoE, but no tags
	Tags    Mode = "eBPF"    // socket filter that looks tags up
	Steered Mode = "AF_XDP"  // no socket filter: the guard looks tags up, and steers to AF_XDP
)

// A Tier is how much the kernel helps a disk.
type Tier struct {
	Filter Mode   `json:"filter"`        // none, classic, eBPF or AF_XDP
	Guard  Mode   `json:"guard"`         // none, generic or driver
	Why    string `json:"why,omitempty"` // why not more was possible, and what to do
}

// Costs says what the lower steps of a tier cost, one sentence each; nothing for
// the highest.
func (t Tier) Costs() (all []string) {
	switch t.Filter {
	case None:
		all = append(all, "every frame of AoE that arrives is copied into this process")
	case Classic:
		all = append(all, "the receive ring takes any AoE frame, so that forged and late answers can fill it")
	}
	switch t.Guard {
	case None:
		all = append(all, "when memory is short, foreign frames go on taking it")
	case Generic:
		all = append(all, "when memory is short, each foreign frame is given memory before it is dropped, and long frames of the disk are copied once more to memory that may not be there")
	}
	return all
}

// Stats are what a guard has counted, in frames, and how it is.
type Stats struct {
	Interface string `json:"interface"`
	Mode      Mode   `json:"mode"`
	Allow     []Rule `json:"allow,omitempty"`

	Answers       uint64 `json:"answers"`       // passed: to something outstanding
	Announcements uint64 `json:"announcements"` // passed: of a guarded disk
	Asked         uint64 `json:"asked"`         // passed: of a guarded disk, while it was looked for
	Passed        uint64 `json:"passed"`        // foreign, while memory was fine
	Allowed       uint64 `json:"allowed"`       // foreign, in crunch, on the allow list
	Dropped       uint64 `json:"dropped"`       // foreign, in crunch
	DroppedAoE    uint64 `json:"droppedAoE"`    // AoE that nobody here waits for, in crunch

	// Crunch is why foreign frames are dropped now; empty when they are not.
	Crunch string `json:"crunch,omitempty"`
	// Crunches is how often a disk's loop has found memory short. A loop that
	// stopped is not in it: nobody counted.
	Crunches uint64 `json:"crunches"`
	LowBytes int64  `json:"lowBytes"` // see Config
}

// add takes the counters in.
func (s *Stats) add(n []uint64) {
	s.Answers, s.Announcements, s.Asked = n[keptAnswer], n[keptAnnouncement], n[keptAsked]
	s.Passed, s.Allowed = n[passedForeign], n[passedAllowed]
	s.Dropped, s.DroppedAoE = n[droppedForeign], n[droppedAoE]
}
