package initiator

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"aoe/frame/link/linktest"
)

// TestAbandonedWriteLeavesTheSliceAlone: after Write has returned because its
// context ended, the caller may put other things into the slice. What reaches the
// disk then is what was written.
func TestAbandonedWriteLeavesTheSliceAlone(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{Depth: 2}})
	written := pattern(1, 8192)
	p := bytes.Clone(written)
	b.sw.SetFaults(linktest.Faults{Delay: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if n, err := b.disk.Write(ctx, p, 0); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%d, %v", n, err)
	}
	copy(p, pattern(2, len(p))) // under -race this meets whoever still reads it
	b.until("the write is carried out", func() bool { return bytes.Equal(b.target.Bytes(0, 8192), written) })
	b.until("its request came back", func() bool { return len(b.disk.idle) == 2 })
	if got := b.target.Bytes(0, 8192); !bytes.Equal(got, written) {
		t.Error("the disk holds what was put into the slice later")
	}
}
