package hold

import (
	"context"
	"path/filepath"

	"aoe/cmd/internal/rundir"
	"aoe/initiator/attach"
)

func newFront(ctx context.Context, cfg Config, d attach.Disk) (front, error) {
	switch cfg.Via {
	case "nbd":
		return newNBD(cfg, d)
	case "ublk":
		dev, err := attach.UBLK(ctx, attach.UBLKConfig{
			Disk: d, ReadOnly: cfg.ReadOnly, TakeOver: cfg.TakeOver, OnThread: cfg.OnThread,
		})
		if err != nil {
			return nil, err
		}
		return &ublkFront{dev}, nil
	case "nbd-kernel":
		dev, err := attach.NBDKernel(ctx, attach.NBDKernelConfig{
			Disk: d, ReadOnly: cfg.ReadOnly, TakeOver: cfg.TakeOver, OnThread: cfg.OnThread,
		})
		if err != nil {
			return nil, err
		}
		return &nbdKernelFront{dev}, nil
	}
	dev, err := attach.FUSE(ctx, attach.FUSEConfig{
		Disk: d, ReadOnly: cfg.ReadOnly,
		Dir: filepath.Join(string(cfg.Dir), cfg.Disk.Addr.String()),
	})
	if err != nil {
		return nil, err
	}
	return &fuseFront{dev}, nil
}

// fuseFront is a block device.
type fuseFront struct{ dev *attach.Device }

func (f *fuseFront) path() string                      { return f.dev.Path }
func (f *fuseFront) close(ctx context.Context) error   { return f.dev.Close(ctx) }
func (f *fuseFront) abandon(ctx context.Context) error { return f.dev.Abandon(ctx) }
func (f *fuseFront) resize() error                     { return f.dev.Resize() }
func (f *fuseFront) done() <-chan struct{}             { return f.dev.Done() }
func (f *fuseFront) stats(s *rundir.Status) {
	st := f.dev.Stats()
	s.FUSE = &st
}

// ublkFront is a block device that outlives its process.
type ublkFront struct{ dev *attach.UBLKDevice }

func (f *ublkFront) path() string                      { return f.dev.Path }
func (f *ublkFront) close(ctx context.Context) error   { return f.dev.Close(ctx) }
func (f *ublkFront) abandon(ctx context.Context) error { return f.dev.Abandon(ctx) }
func (f *ublkFront) resize() error                     { return f.dev.Resize() }
func (f *ublkFront) done() <-chan struct{}             { return f.dev.Done() }
func (f *ublkFront) stats(s *rundir.Status) {
	st := f.dev.Stats()
	s.UBLK = &st
}

// nbdKernelFront is a block device that outlives its process for a while.
type nbdKernelFront struct{ dev *attach.NBDKernelDevice }

func (f *nbdKernelFront) path() string                      { return f.dev.Path }
func (f *nbdKernelFront) close(ctx context.Context) error   { return f.dev.Close(ctx) }
func (f *nbdKernelFront) abandon(ctx context.Context) error { return f.dev.Abandon(ctx) }
func (f *nbdKernelFront) resize() error                     { return f.dev.Resize() }
func (f *nbdKernelFront) done() <-chan struct{}             { return f.dev.Done() }
func (f *nbdKernelFront) stats(s *rundir.Status) {
	st := f.dev.Stats()
	s.NBD = &st
}

// nbdFront is a unix socket.
type nbdFront struct {
	nbd    *attach.NBD
	socket string
	ended  chan struct{} // the accept loop
}

func newNBD(cfg Config, d attach.Disk) (front, error) {
	n, err := attach.ListenNBD(attach.NBDConfig{Disk: d, Socket: cfg.Socket, ReadOnly: cfg.ReadOnly})
	if err != nil {
		return nil, err
	}
	f := &nbdFront{nbd: n, socket: cfg.Socket, ended: make(chan struct{})}
	go func() { // ends with close
		defer close(f.ended)
		_ = n.Serve() // whose end is what matters: the socket is of no use then
	}()
	return f, nil
}

func (f *nbdFront) path() string { return f.socket }

// close ends clients that are connected: unlike a mounted file system they see
// at once that the disk is gone, and hold nothing that was not acknowledged.
func (f *nbdFront) close(ctx context.Context) error {
	err := f.nbd.Close(ctx)
	<-f.ended
	return err
}

func (f *nbdFront) abandon(ctx context.Context) error { return f.close(ctx) }

// resize does nothing: NBD clients learn the size when they connect.
func (f *nbdFront) resize() error         { return nil }
func (f *nbdFront) done() <-chan struct{} { return f.ended }
func (f *nbdFront) stats(s *rundir.Status) {
	st := f.nbd.Stats()
	s.NBD = &st
}
