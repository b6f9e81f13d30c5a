package main

import (
	"context"
	"errors"
	"os"

	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/open"
	"aoe/initiator"
	"aoe/reserve/harden"
	"aoe/target"
	"aoe/target/store"
)

// serveImage is the target's process: what `aoe serve` runs.
func serveImage(c config) (err error) {
	g, err := newGauge()
	if err != nil {
		return err
	}
	s, err := target.New(target.Config{})
	if err != nil {
		return err
	}
	st, err := store.Open(store.Config{Path: c.image})
	if err != nil {
		return err
	}
	// Write-back, so that flushes have something to do.
	if err := s.AddDisk(target.Disk{Addr: e11, Store: st, Mode: target.ModeFlush}); err != nil {
		return errors.Join(err, st.Close())
	}
	l, err := open.Open(c.ifname)
	if err != nil {
		return err
	}
	if err := s.AddLink(l); err != nil {
		return errors.Join(err, l.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }() // ends with stop
	err = g.tell(os.Stdin, os.Stdout, func(*reading) {})
	stop()
	return errors.Join(err, <-served)
}

// useDisk is the initiator's process, sealed as `aoe attach --swap-safe` does it:
// the steps that this machine does not permit are printed, and gone without.
func useDisk(c config) (err error) {
	p, err := harden.Begin(harden.Config{})
	if err == nil {
		err = p.Prepare()
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	g, err := newGauge()
	if err != nil {
		return err
	}
	port, err := open.Open(c.ifname)
	if err != nil {
		return err
	}
	if c.loss > 0 {
		port = impaired(port, c.loss)
	}
	defer func() { err = errors.Join(err, port.Close()) }()
	d, err := initiator.Open(context.Background(), initiator.Config{
		Link: port, Addr: e11, Depth: c.depth, LockMemory: true, OnThread: p.OnThread, DeadTime: -1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	l, err := newLoad(d, c.block, c.depth)
	if err != nil {
		return err
	}
	if err := p.Seal(func() error { return rehearse(d) }); err != nil {
		return err
	}
	if _, err := p.Steps().Failed().WriteTo(os.Stderr); err != nil {
		return err
	}
	if !p.Steps().Done(harden.Lock) {
		return errors.New("without a locked process nothing is shown: run as root")
	}
	l.start(context.Background())
	told := g.tell(os.Stdin, os.Stdout, func(r *reading) {
		st := d.Stats()
		r.Requests, r.Errors, r.Wrong = l.requests.Load(), l.errors.Load(), l.wrong.Load()
		r.Retransmitted, r.ToCrunch = st.Retransmitted, st.Reserve.ToCrunch
	})
	return errors.Join(told, l.wait())
}

func impaired(port link.Link, loss float64) link.Link {
	f := linktest.Faults{Loss: loss}
	return linktest.Impair(port, linktest.Impairment{Seed: 1, Send: f, Receive: f})
}

// rehearse is one of each; the load goes on from there before the baseline.
func rehearse(d *initiator.Disk) error {
	p := make([]byte, d.MaxRequest())
	_, werr := d.WriteAt(p, 0)
	_, rerr := d.ReadAt(p, 0)
	return errors.Join(werr, rerr, d.Flush(context.Background()))
}
