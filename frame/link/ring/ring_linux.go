package ring

import (
	"aoe/frame/link"
	"aoe/frame/link/internal/nic"
	"aoe/frame/link/internal/port"
)

// A Link is one interface of Linux, opened with Open.
type Link struct {
	*port.Link
	rx *receiver
}

var _ link.Link = (*Link)(nil)

// Open opens the interface. It needs CAP_NET_RAW. The interface may be down.
func Open(cfg Config) (*Link, error) {
	if cfg.Frames <= 0 {
		cfg.Frames = DefaultFrames
	}
	var rx *receiver
	p, err := port.Open(port.Config{Package: "ring", Interface: cfg.Interface, Poll: cfg.Poll, Receive: func(info nic.Info) (port.Receiver, error) {
		r, err := openReceiver(cfg, info.Index, info.MTU)
		if err != nil {
			return nil, err // not a nil pointer in an interface
		}
		rx = r
		return r, nil
	}})
	if err != nil {
		return nil, err
	}
	return &Link{p, rx}, nil
}
