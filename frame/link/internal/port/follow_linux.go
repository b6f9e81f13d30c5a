package port

import (
	"errors"
	"fmt"
	"slices"

	"aoe/frame/link/internal/nic"

	"golang.org/x/sys/unix"
)

// follow looks at the interface and follows its changes. It allocates:
// interfaces do not change on the data path. It belongs to Recv.
func (l *Link) follow() error {
	info, err := l.nic.Look()
	if err != nil {
		return fmt.Errorf("%s: %w", l.pkg, err)
	}
	replaced := info.Exists() && info.Index != l.index
	if replaced {
		l.fdMu.Lock()
		err := bindSender(l.tx, info.Index)
		if err == nil {
			err = l.followTo(info)
		}
		l.fdMu.Unlock()
		switch {
		case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
			return nil // it is gone again, which will be the next change
		case err != nil:
			return fmt.Errorf("%s: %w", l.pkg, err)
		}
		l.index = info.Index
	} else if err := l.rx.Follow(info, false); err != nil {
		return fmt.Errorf("%s: %w", l.pkg, err)
	}
	info.MTU = l.rx.MTU(info.MTU)
	old := l.state.Load()
	s, wentDown := info.State(*old, replaced)
	if wentDown {
		l.counted.flaps.Add(1)
	}
	if s != *old {
		l.state.Store(&s)
	}
	return nil
}

// followTo lets the receiver follow to another interface, where it may have
// other descriptors.
func (l *Link) followTo(info nic.Info) error {
	had := l.rx.FDs()
	if err := l.rx.Follow(info, true); err != nil {
		return err
	}
	if has := l.rx.FDs(); !slices.Equal(has, had) {
		return l.waiter.watch(onFrames, has...)
	}
	return nil
}
