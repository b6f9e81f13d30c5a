package open

import (
	"fmt"
	"runtime"
	"time"

	"aoe/frame/link"
	"aoe/frame/link/raw"
	"aoe/frame/link/ring"
	"aoe/frame/link/xdp"
)

// The kinds of link there are, for command lines and configuration files.
const (
	Best = ""     // Ring on Linux, Raw elsewhere
	Ring = "ring" // package ring
	XDP  = "xdp"  // package xdp
	Raw  = "raw"  // package raw
)

// Kinds are the names that As takes, the default first.
func Kinds() []string {
	if best() == Raw {
		return []string{Raw}
	}
	return []string{Ring, XDP, Raw}
}

func best() string {
	if runtime.GOOS == "linux" {
		return Ring
	}
	return Raw
}

// UsualPoll is the Config.Poll of a program that wants its answers soon: longer than
// a round trip between two hosts that both have to be woken, so that one that polls
// finds the other.
const UsualPoll = 50 * time.Microsecond

// A Config says what to open, and how. Only Interface is needed.
type Config struct {
	// Interface is its name, "eth0", in the network namespace of the calling
	// thread.
	Interface string
	// Kind is Best, Ring, XDP or Raw.
	Kind string
	// Frames is how many slots the receive ring of a Ring has at least, and how
	// many frames an XDP has room for; see [ring.Config] and [xdp.Config].
	Frames int
	// Poll is how long a Ring or an XDP looks for frames before it sleeps; see
	// [ring.Config]. Zero: it sleeps at once.
	Poll time.Duration
	// FilterFD is the eBPF socket filter of a Ring, if it is positive; see
	// [ring.Config].
	FilterFD int
	// Steer makes another's program steer frames into the sockets of an XDP; see
	// [xdp.Config].
	Steer xdp.Steerer
}

// With opens the interface as cfg says. What only one kind has is not looked at
// for another.
func With(cfg Config) (link.Link, error) {
	if cfg.Kind == Best {
		cfg.Kind = best()
	}
	// A nil pointer would make a link.Link that is not nil.
	switch cfg.Kind {
	case Ring:
		l, err := ring.Open(ring.Config{Interface: cfg.Interface, Frames: cfg.Frames, Poll: cfg.Poll, FilterFD: cfg.FilterFD})
		if err != nil {
			return nil, err
		}
		return l, nil
	case XDP:
		l, err := xdp.Open(xdp.Config{Interface: cfg.Interface, Frames: cfg.Frames, Poll: cfg.Poll, Steer: cfg.Steer})
		if err != nil {
			return nil, err
		}
		return l, nil
	case Raw:
		l, err := raw.Open(cfg.Interface)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	return nil, fmt.Errorf("open: there is no kind of link %q: want one of %v", cfg.Kind, Kinds())
}

// Open opens the interface with the best link that the platform has.
func Open(ifname string) (link.Link, error) { return With(Config{Interface: ifname}) }

// As opens the interface with a link of the given kind.
func As(kind, ifname string) (link.Link, error) {
	return With(Config{Interface: ifname, Kind: kind})
}
