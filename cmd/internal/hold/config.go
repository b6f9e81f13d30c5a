package hold

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/tier"
	"aoe/frame/link"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/guard"
	"aoe/reserve/harden"
)

// A Config says what to attach, and how. Disk.Link, Disk.Addr and Dir are
// needed.
type Config struct {
	Disk initiator.Config
	// Via is the name of an attach.Way. Empty is the best way of this machine
	// that gives a block device.
	Via string
	// Socket of Via "nbd". Empty means one in Dir, named after the address.
	Socket string
	// ReadOnly refuses writes even if the disk would take them.
	ReadOnly bool
	// TakeOver serves the device that a process which died left, if there is
	// one: what waits in it is not lost. It makes Attach wait for the longest
	// life of a frame, so that no copy of what that process sent can arrive
	// after a newer write (H1). Without it, a device that was left is an error.
	TakeOver bool
	// OnThread, if not nil, is called on each thread that does I/O for the
	// device, before it does any: to make it a real-time thread, for instance.
	OnThread func()
	// Harden, if not nil, is this process, prepared to live on without memory:
	// it is sealed before the device is made (--swap-safe). It sets
	// Disk.LockMemory, Disk.OnThread and OnThread.
	Harden *harden.Process
	// Facts are those that the tier is worked out from and that Attach cannot
	// know: about the link, its filter and the guard.
	Facts tier.Facts
	// Others are more ports to the disk: they become Disk.Others. Attach takes
	// them.
	Others []Port
	// Kernel is how the kernel helps: by default not more than the link has.
	Kernel Kernel
	// Dir lists the disk while it is attached.
	Dir rundir.Dir
	// Watch is the time between looks at the disk's condition and size. Zero
	// means one second; negative is refused.
	Watch time.Duration
	// Log is told when the condition or the size changes. Nil tells nobody.
	Log *slog.Logger
}

// A Port is a link to the disk in addition to Disk.Link.
type Port struct {
	Link link.Link
	// Table has the filter of the link. Nil: it has one of its own.
	Table *guard.Table
}

// Close closes the link, and then its filter.
func (p Port) Close() error {
	err := p.Link.Close()
	if p.Table != nil {
		err = errors.Join(err, p.Table.Close())
	}
	return err
}

// usePorts makes Others a part of the disk's configuration.
func (c *Config) usePorts() {
	c.Disk.Others = nil
	for _, p := range c.Others {
		port := initiator.Port{Link: p.Link}
		if p.Table != nil {
			port.Tags = p.Table
		}
		c.Disk.Others = append(c.Disk.Others, port)
	}
}

func (c Config) withDefaults() (Config, error) {
	if c.Disk.Link == nil {
		return c, errors.New("hold: Config.Disk.Link is needed")
	}
	c.harden()
	c.usePorts()
	if c.Watch == 0 {
		c.Watch = time.Second
	}
	if c.Watch < 0 {
		return c, fmt.Errorf("hold: Config.Watch is negative")
	}
	if c.Disk.FrameLife == 0 {
		c.Disk.FrameLife = time.Second // the initiator's default, which Attach has to know
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.Via, err = chooseWay(c.Via); err != nil {
		return c, err
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(string(c.Dir), c.Disk.Addr.String()+".nbd")
	}
	return c, nil
}

// chooseWay says how to attach, or why that is not possible here.
func chooseWay(via string) (string, error) {
	ways := attach.Ways()
	if via == "" {
		if w, ok := attach.DefaultWay(); ok {
			return w.Name, nil
		}
		var why []string
		for _, w := range ways {
			if w.Reason != "" {
				why = append(why, w.Name+": "+w.Reason)
			}
		}
		return "", fmt.Errorf("hold: no way to make a block device here; --via nbd makes a socket. %s", strings.Join(why, "; "))
	}
	i := slices.IndexFunc(ways, func(w attach.Way) bool { return w.Name == via })
	if i < 0 {
		var names []string
		for _, w := range ways {
			names = append(names, w.Name)
		}
		return "", fmt.Errorf("hold: there is no way %q to attach: want one of %s", via, strings.Join(names, ", "))
	}
	if !ways[i].Available {
		return "", fmt.Errorf("hold: %s: %s", via, ways[i].Reason)
	}
	return via, nil
}
