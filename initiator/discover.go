package initiator

import (
	"context"
	"errors"
	"slices"
	"time"

	"aoe/frame"
	"aoe/frame/link"

	"github.com/mdlayher/aoe"
)

// A Target is what answered a query config request: one disk at one MAC.
type Target struct {
	Addr         frame.Addr    `json:"address"`
	MAC          frame.MAC     `json:"mac"`
	BufferCount  int           `json:"bufferCount"` // frames it can hold, for all initiators
	Firmware     uint16        `json:"firmware"`
	MaxSectors   int           `json:"maxSectors"` // in one frame
	ConfigString string        `json:"configString"`
	RTT          time.Duration `json:"rttNs"` // of the query
}

func (a answer) target(c frame.Config) Target {
	return Target{
		Addr: a.header.Addr, MAC: a.header.Src, BufferCount: int(c.BufferCount), Firmware: c.Firmware,
		MaxSectors: c.MaxSectorsPerFrame(), ConfigString: string(c.String), RTT: a.rtt,
	}
}

// DiscoverTime is how long Discover collects answers to a wildcard if its context
// does not say.
const DiscoverTime = 500 * time.Millisecond

// Discover asks everybody on the segment which disks there are at addr. If that
// is a wildcard it collects answers until ctx ends, or for DiscoverTime if ctx
// has no deadline; for the address of one disk it returns shortly after the
// first answer. They are sorted by address; a disk that answers from several
// ports is there several times. Nobody else may receive from the link meanwhile.
//
// Nobody answering is not an error. ctx being canceled is.
func Discover(ctx context.Context, l link.Link, addr frame.Addr) ([]Target, error) {
	limited := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, DiscoverTime)
		defer cancel()
	}
	grace := openGrace
	if addr.IsWildcard() {
		grace = 0
	}
	found, err := newAsker(l).find(limited, addr, grace)
	if errors.Is(err, ErrNoAnswer) && !errors.Is(ctx.Err(), context.Canceled) {
		err = nil // time is up: that is all there are
	}
	return found, err
}

// find queries everybody's configuration. With a grace it returns so long after
// the first answer.
func (a *asker) find(ctx context.Context, addr frame.Addr, grace time.Duration) ([]Target, error) {
	var found []Target
	err := a.ask(ctx, question{
		header: frame.Header{Dst: frame.Broadcast, Addr: addr, Command: aoe.CommandQueryConfigInformation},
		arg:    frame.Config{}.Append(nil),
		first:  100 * time.Millisecond,
		grace:  grace,
		accept: func(a answer) bool {
			c, err := frame.ParseConfig(a.arg)
			if err != nil || a.header.IsError() {
				return false
			}
			t := a.target(c)
			same := func(o Target) bool { return o.Addr == t.Addr && o.MAC == t.MAC }
			if !slices.ContainsFunc(found, same) {
				found = append(found, t)
			}
			return false
		},
	})
	slices.SortFunc(found, func(a, b Target) int {
		switch {
		case a.Addr.Less(b.Addr):
			return -1
		case b.Addr.Less(a.Addr):
			return 1
		}
		return slices.Compare(a.MAC[:], b.MAC[:])
	})
	return found, err
}
