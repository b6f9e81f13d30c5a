package lab

import (
	"context"
	"errors"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/veth"
)

// A FloodConfig is a flood for who brings a network of his own.
type FloodConfig struct {
	Pair   *veth.Pair // from B to A, an initiator's host whose target is on B
	Addr   frame.Addr // of the disk
	MTU    int        // of the cable; zero means 1500
	Rate   int        // frames a second
	Forged bool       // half of them answers of the disk with guessed tags and the like, not only foreign ones
	Seed   uint64
}

// A Flood is one that runs. It ends by itself after a million frames.
type Flood struct {
	flood *flood
	port  link.Link
}

// StartFlood starts one.
func StartFlood(cfg FloodConfig) (*Flood, error) {
	if cfg.Rate <= 0 {
		return nil, errors.New("lab: a flood needs a rate in frames a second")
	}
	port, err := on(cfg.Pair.B, openSendOnly)
	if err != nil {
		return nil, err
	}
	kinds := againstInitiator()
	if !cfg.Forged {
		kinds = kinds[:1]
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = veth.DefaultMTU
	}
	return &Flood{port: port, flood: startFlood(context.Background(), floodConfig{
		link: port, kinds: kinds, rate: cfg.Rate, most: mostFlood,
		forger: forger{
			rng: newRand(cfg.Seed, "flood"), addr: cfg.Addr, initiator: cfg.Pair.A.MAC, target: cfg.Pair.B.MAC,
			payload: min(frame.SectorsPerFrame(mtu), 16) * frame.SectorSize,
		},
	})}, nil
}

// Stop ends it, and tells how many frames of each kind were sent.
func (f *Flood) Stop() (map[string]uint64, error) {
	sent, err := f.flood.stop()
	return sent, errors.Join(err, f.port.Close())
}
