package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

// The stage of a rehearsal: a disk in memory, on a segment that loses every 20th
// frame, and on which no frame lives long: the engine then need not wait before
// it writes again to where a write was repeated.
const (
	rehearsalBytes = 1 << 20
	rehearsalLoss  = 0.05
	rehearsals     = 16
	rehearsalLife  = time.Millisecond
)

// rehearse does everything that the process will have to do later, on a disk in
// memory that is served by this process: reads, writes, flushes, trims, and the
// retransmission of each. What the Go runtime and the packages make at first use
// is made then. It uses the configuration of the real disk but for what is the
// real disk's, and gives everything back.
func rehearse(ctx context.Context, cfg initiator.Config) (err error) {
	sw := linktest.NewSwitch(linktest.Config{MTU: cfg.Link.State().MTU, Faults: linktest.Faults{Loss: rehearsalLoss}})
	addr := frame.Addr{Shelf: 1, Slot: 1}
	s, err := target.New(target.Config{})
	if err != nil {
		return err
	}
	err = s.AddDisk(target.Disk{Addr: addr, Store: store.Memory(rehearsalBytes), Mode: target.ModeFlush, Serial: "rehearsal"})
	if err := errors.Join(err, s.AddLink(sw.Port(frame.MAC{2, 0, 0, 0, 0, 2}))); err != nil {
		return errors.Join(err, s.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }() // ends with s.Close
	defer func() { err = errors.Join(err, s.Close(), <-served) }()
	port := sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	defer func() { err = errors.Join(err, port.Close()) }()
	d, err := initiator.Open(ctx, initiator.Config{
		Link: port, Addr: addr, MaxRequest: cfg.MaxRequest, Depth: cfg.Depth, LockThread: true, DeadTime: -1,
		FrameLife: rehearsalLife,
	})
	if err != nil {
		return fmt.Errorf("hold: rehearsal: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return play(ctx, d)
}

// play goes on until frames have been lost and sent again.
func play(ctx context.Context, d *initiator.Disk) error {
	wrote, read := make([]byte, d.MaxRequest()), make([]byte, d.MaxRequest())
	for round := 0; round < rehearsals || d.Stats().Retransmitted == 0; round++ {
		off := int64(round*len(wrote)) % rehearsalBytes
		wrote[0] = byte(round)
		if _, err := d.Write(ctx, wrote, off); err != nil {
			return fmt.Errorf("hold: rehearsal: write: %w", err)
		}
		if _, err := d.Read(ctx, read, off); err != nil {
			return fmt.Errorf("hold: rehearsal: read: %w", err)
		}
		if !bytes.Equal(wrote, read) {
			return errors.New("hold: rehearsal: read something else than was written")
		}
		if err := d.Flush(ctx); err != nil {
			return fmt.Errorf("hold: rehearsal: flush: %w", err)
		}
	}
	if err := d.Trim(ctx, 0, int64(len(wrote))); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("hold: rehearsal: trim: %w", err)
	}
	return nil
}
