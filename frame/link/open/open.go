package open

import (
	"fmt"
	"runtime"

	"aoe/frame/link"
	"aoe/frame/link/raw"
	"aoe/frame/link/ring"
)

// The kinds of link there are, for command lines and configuration files.
const (
	Best = ""     // Ring on Linux, Raw elsewhere
	Ring = "ring" // package ring
	Raw  = "raw"  // package raw
)

// Kinds are the names that As takes, the default first.
func Kinds() []string {
	if best() == Raw {
		return []string{Raw}
	}
	return []string{Ring, Raw}
}

func best() string {
	if runtime.GOOS == "linux" {
		return Ring
	}
	return Raw
}

// Open opens the interface with the best link that the platform has.
func Open(ifname string) (link.Link, error) { return As(Best, ifname) }

// As opens the interface with a link of the given kind.
func As(kind, ifname string) (link.Link, error) {
	if kind == Best {
		kind = best()
	}
	switch kind {
	case Ring:
		return Filtered(ifname, 0)
	case Raw:
		// A nil *raw.Link would make a link.Link that is not nil.
		l, err := raw.Open(ifname)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	return nil, fmt.Errorf("open: there is no kind of link %q: want one of %v", kind, Kinds())
}

// Filtered opens the interface with a ring and an eBPF socket filter, see
// [ring.Config]; with none if filterFD is not positive.
func Filtered(ifname string, filterFD int) (link.Link, error) {
	l, err := ring.Open(ring.Config{Interface: ifname, FilterFD: filterFD})
	if err != nil {
		return nil, err
	}
	return l, nil
}
