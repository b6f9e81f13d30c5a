package ring

import (
	"errors"

	"golang.org/x/sys/unix"
)

// follow looks at the interface and follows its changes. It allocates:
// interfaces do not change on the data path. It belongs to Recv.
func (l *Link) follow() error {
	info, err := l.nic.Look()
	if err != nil {
		return err
	}
	replaced := info.Exists() && info.Index != l.index
	if replaced {
		err := bindSender(l.tx, info.Index)
		if err == nil {
			err = l.rx.bind(info.Index)
		}
		switch {
		case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
			return nil // it is gone again, which will be the next change
		case err != nil:
			return err
		}
		l.index = info.Index
	}
	if info.MTU > l.rx.geo.mtu() {
		if err := l.rx.grow(info.MTU); err != nil {
			return err
		}
	}
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
