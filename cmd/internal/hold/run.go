package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// detachTime is how long a signal's detach may take before the user is told
// that it hangs.
const detachTime = 30 * time.Second

// Run serves until the disk is detached: by a signal, by another process, or
// because the device is gone. A signal while the device is in use is refused
// and said in words through tell; the disk stays attached. When detaching takes
// too long, because the target is silent, a further signal abandons the device.
// Run closes the Hold.
func (h *Hold) Run(signals <-chan os.Signal, tell func(string)) error {
	hung := false
	for {
		select {
		case <-h.detached:
			return h.Close()
		case <-signals:
		}
		ctx, cancel := context.WithTimeout(context.Background(), detachTime)
		err := h.signalled(ctx, hung, signals)
		cancel()
		select {
		case <-h.detached: // perhaps something was wrong with the last flush
			return errors.Join(err, h.Close())
		default:
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrInUse):
			tell(fmt.Sprintf("%v. %s stays attached.", err, h.cfg.Disk.Addr))
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			hung = true
			tell(fmt.Sprintf("%v. %s stays attached. A further signal gives it up: what was not written yet is lost.", err, h.cfg.Disk.Addr))
		default:
			hung = true
			tell(err.Error())
		}
	}
}

// signalled does what a signal asks for. A further signal meanwhile ends the
// waiting.
func (h *Hold) signalled(ctx context.Context, hung bool, signals <-chan os.Signal) error {
	if hung {
		return h.Abandon(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.Detach(ctx) }() // ends when ctx does
	select {
	case err := <-done:
		return err
	case <-signals:
		cancel()
		return <-done
	}
}
