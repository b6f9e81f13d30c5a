package diskcopy

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

// A forgetful device loses what was not flushed, after some writes, and goes on
// when a flush has said so.
type forgetful struct {
	Device
	target *initiatortest.Target
	told   chan struct{} // closed then

	mu   sync.Mutex // no flush between a write and the loss
	left int        // writes until then
}

func (f *forgetful) Write(ctx context.Context, p []byte, off int64) (int, error) {
	f.mu.Lock()
	n, err := f.Device.Write(ctx, p, off)
	f.left--
	lost := f.left == 0
	if lost {
		f.target.PowerFails(func(uint64) bool { return true })
		f.target.Change(func(c *initiatortest.Config) { c.Verifier++ })
	}
	f.mu.Unlock()
	if lost {
		<-f.told
	}
	return n, err
}

func (f *forgetful) Flush(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.Device.Flush(ctx)
	if errors.Is(err, initiator.ErrForgotten) {
		close(f.told) // it is said once
	}
	return err
}

// TestH17GoingOnAfterALoss: a disk that has forgotten what it had acknowledged says
// so to one flush, and the next succeeds. The copy does not go on behind what is
// missing.
func TestH17GoingOnAfterALoss(t *testing.T) {
	path, data := image(t, "disk.img", size)
	d, target := disk(t, size, initiatortest.Config{Instance: 1, Verifier: frame.NewVerifier(1)})
	d.Device = &forgetful{Device: d.Device, target: target, told: make(chan struct{}), left: 20}
	cfg := Config{Source: source(t, path), Destination: d, State: filepath.Join(t.TempDir(), "state"), Chunk: 2 * piece, Depth: 1, Save: time.Millisecond}
	if _, err := Run(t.Context(), cfg); !errors.Is(err, initiator.ErrForgotten) {
		t.Fatalf("the disk has forgotten what was copied: %v", err)
	}
	if r, err := Run(t.Context(), cfg); err != nil || !bytes.Equal(target.Bytes(0, size), data) {
		t.Errorf("went on: %+v, %v", r, err)
	}
}
