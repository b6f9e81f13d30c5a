package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/open"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"

	"golang.org/x/sys/unix"
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
	if err := s.AddDisk(target.Disk{Addr: e11, Store: st, Mode: target.WriteBack}); err != nil {
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

// useDisk is the initiator's process.
func useDisk(c config) (err error) {
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
		Link: port, Addr: e11, Depth: c.depth, LockMemory: true, LockThread: true, DeadTime: -1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Flush(context.Background()); err != nil { // the first of its kind
		return err
	}
	l, err := newLoad(d, c.block, c.depth)
	if err != nil {
		return err
	}
	if err := seal(); err != nil {
		return err
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

// seal is the end of start-up: the heap is collected a last time, and all memory
// that there is, and will be, stays.
func seal() error {
	runtime.GC()
	debug.SetGCPercent(-1)
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
		return fmt.Errorf("mlockall: %w: run as root", err)
	}
	return nil
}
