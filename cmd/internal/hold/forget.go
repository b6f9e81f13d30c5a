package hold

import (
	"context"
	"errors"

	"aoe/initiator"
)

// Forget implements rundir.Forgetter: it is Detach, but what cannot be written
// back because the disk is down is given up.
func (h *Hold) Forget(ctx context.Context) error {
	return h.end(ctx, func(ctx context.Context) error {
		err := h.front.close(ctx)
		if err == nil || errors.Is(err, ErrInUse) || h.disk.State().Condition != initiator.IsDown {
			return err
		}
		return h.front.abandon(ctx)
	})
}
