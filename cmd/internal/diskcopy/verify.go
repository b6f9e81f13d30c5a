package diskcopy

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrDiffers says that the destination is not what was copied to it.
var ErrDiffers = errors.New("differs from the source")

// verify reads both ends and compares them. It saves no state: the copy is
// complete, and begins anew with the comparison when it is interrupted.
func (r *run) verify(ctx context.Context) error {
	r.Progress.Begin("verifying", 0, r.size)
	defer r.Progress.End()
	v := &run{Config: r.Config, size: r.size, finished: map[int64]bool{}}
	v.State = ""
	buffers := sync.Pool{New: func() any { return new(make([]byte, r.Chunk)) }}
	err := v.each(ctx, func(ctx context.Context, p []byte, off int64) error {
		if v.hole(off, len(p)) {
			clear(p)
		} else if _, err := v.Source.Read(ctx, p, off); err != nil {
			return fmt.Errorf("reading %s at byte %d: %w", v.Source.Name, off, err)
		}
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		q := (*buf)[:len(p)]
		if _, err := v.Destination.Read(ctx, q, off); err != nil {
			return fmt.Errorf("reading %s at byte %d: %w", v.Destination.Name, off, err)
		}
		for i := range p {
			if p[i] != q[i] {
				return fmt.Errorf("%s %w at byte %d: copy it again with --force, and look at the disk", v.Destination.Name, ErrDiffers, off+int64(i))
			}
		}
		return nil
	})
	return err
}
