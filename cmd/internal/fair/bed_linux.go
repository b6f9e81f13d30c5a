package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"aoe/cmd/internal/bench"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

// A bed is a target that serves, and initiators that have all disks open.
type bed struct {
	cfg     config
	server  *target.Server
	disks   [][]*initiator.Disk // of each initiator
	closers []io.Closer         // the last first
}

// closer makes a function an io.Closer.
type closer func() error

func (c closer) Close() error { return c() }

func (b *bed) push(c io.Closer) { b.closers = append(b.closers, c) }

func (b *bed) close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i].Close())
	}
	return errors.Join(errs...)
}

func newBed(ctx context.Context, c config) (*bed, error) {
	b := &bed{cfg: c}
	if err := b.build(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bed) build(ctx context.Context) error {
	bridge, err := veth.NewBridge(veth.Config{MTU: 9000}, 1+b.cfg.initiators)
	if err != nil {
		return err
	}
	b.push(bridge)
	if err := b.serve(bridge.Hosts[0]); err != nil {
		return err
	}
	for i, host := range bridge.Hosts[1:] {
		disks, err := b.attach(ctx, host, i*b.cfg.each)
		if err != nil {
			return err
		}
		b.disks = append(b.disks, disks)
	}
	return nil
}

func (b *bed) serve(host *veth.Host) (err error) {
	if b.server, err = target.New(target.Config{}); err != nil {
		return err
	}
	for i := range b.cfg.disks {
		st, err := b.store(i)
		if err != nil {
			return err
		}
		if err := b.server.AddDisk(target.Disk{Addr: address(i), Store: st, Mode: b.cfg.mode}); err != nil {
			return errors.Join(err, st.Close())
		}
	}
	l, err := openOn(host, 4096)
	if err != nil {
		return err
	}
	if err := b.server.AddLink(l); err != nil {
		return errors.Join(err, l.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(ctx) }() // ends with stop
	b.push(closer(func() error {
		stop()
		return <-served
	}))
	return nil
}

func (b *bed) store(i int) (store.Store, error) {
	if b.cfg.dir == "" {
		return store.Memory(b.cfg.sizeBytes), nil
	}
	dir, err := os.MkdirTemp(b.cfg.dir, "aoe-fair-")
	if err != nil {
		return nil, err
	}
	b.push(closer(func() error { return os.RemoveAll(dir) }))
	path := filepath.Join(dir, fmt.Sprintf("%d.img", i))
	// Written once, so that a write changes data and not where it is.
	if err := os.WriteFile(path, make([]byte, b.cfg.sizeBytes), 0o600); err != nil {
		return nil, err
	}
	return store.Open(store.Config{Path: path, Direct: b.cfg.mode == target.ModeDirect})
}

func address(disk int) frame.Addr { return frame.Addr{Shelf: 1, Slot: uint8(disk)} }

func openOn(host *veth.Host, frames int) (l link.Link, err error) {
	err = host.Do(func() error {
		l, err = open.With(open.Config{Interface: host.Interface, Frames: frames})
		return err
	})
	return l, err
}

// attach opens disks on a host, from the given one on, each with a link of its own.
func (b *bed) attach(ctx context.Context, host *veth.Host, from int) ([]*initiator.Disk, error) {
	var disks []*initiator.Disk
	for i := range b.cfg.each {
		l, err := openOn(host, 64)
		if err != nil {
			return nil, err
		}
		b.push(l)
		d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: address((from + i) % b.cfg.disks), Depth: max(b.cfg.depth, 1), MaxRequest: max(b.cfg.blockSize, 4096)})
		if err != nil {
			return nil, err
		}
		b.push(d)
		disks = append(disks, d)
	}
	return disks, nil
}

// run lets all initiators loose at once, and counts what each got.
func (b *bed) run(ctx context.Context) ([]uint64, error) {
	got := make([]uint64, len(b.disks))
	var errs []error
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := make(chan struct{})
	for who, disks := range b.disks {
		for i, d := range disks {
			all.Go(func() {
				<-begin
				r, err := bench.Run(ctx, bench.Config{
					Disk: d, Pattern: b.cfg.pattern, BlockSize: b.cfg.blockSize, Depth: b.cfg.depth, Duration: b.cfg.time,
					Seed: uint64(who*len(disks) + i),
				})
				mu.Lock()
				defer mu.Unlock()
				got[who] += r.Requests - r.Errors
				if r.Errors > 0 {
					err = errors.Join(err, fmt.Errorf("initiator %d: %d requests failed", who+1, r.Errors))
				}
				errs = append(errs, err)
			})
		}
	}
	close(begin)
	all.Wait()
	return got, errors.Join(errs...)
}
