package lab

import (
	"fmt"

	"aoe/cmd/internal/live"
	"aoe/frame"
	"aoe/frame/link/linktest"
)

// A Config describes a lab. The zero value is good.
type Config struct {
	// Image is a file to serve. Empty makes one, which is removed at the end.
	Image string
	// Size of the image that is made, in bytes. Zero means 512 MiB; negative,
	// and what is not a multiple of 4096, is refused.
	Size int64
	// MTU of the cable. Zero means 9000.
	MTU int
	// Seed of losses, flood and data. Zero is a seed like any other.
	Seed uint64
	// Via is how the disk is attached: see hold.Config.
	Via string
	// Dir is where the image and the run directory are made, in a directory
	// of their own. Empty means the system's directory for temporary files.
	Dir string
	// Page shows the lab while it runs. Nil shows nothing.
	Page *live.Page
}

// DefaultSize holds the Go toolchain's sources several times.
const DefaultSize = 512 << 20

// Addr is the address of the lab's disk.
var Addr = frame.Addr{Shelf: 1, Slot: 1}

func (c Config) withDefaults() (Config, error) {
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	if c.MTU == 0 {
		c.MTU = 9000
	}
	if c.Size < 0 || c.Size%4096 != 0 {
		return c, fmt.Errorf("lab: an image of %d bytes: want a multiple of 4096", c.Size)
	}
	return c, nil
}

// Conditions are what an attached disk has to live with. The zero value is a
// perfect world.
type Conditions struct {
	// Faults of the cable, in each direction.
	Faults linktest.Faults
	// ReserveOnly makes every ordinary allocation of the initiator fail.
	ReserveOnly bool
	// Flood is the rate of foreign and forged frames at each of the two
	// hosts, a second. Zero or less means none.
	Flood int
}
