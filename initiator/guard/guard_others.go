//go:build !linux

package guard

import (
	"time"

	"aoe/frame/link/xdp"
)

// A Guard cannot be made on this system.
type Guard struct{}

// Open fails with an error wrapping errors.ErrUnsupported.
func Open(Config) (*Guard, error) { return nil, errLinux }

// Tier is the lowest.
func (*Guard) Tier() Tier { return Tier{Guard: None, Why: errLinux.Error()} }

// Add fails.
func (*Guard) Add(*Table) (*Pulse, error) { return nil, errLinux }

// Steer gives what fails.
func (*Guard) Steer(*Table) xdp.Steerer { return steering{} }

type steering struct{}

func (steering) Steer(uint32, int) error { return errLinux }

// SetPressure does nothing.
func (*Guard) SetPressure(bool) {}

// Tend does nothing.
func (*Guard) Tend(bool) error { return nil }

// Stats are empty.
func (*Guard) Stats() Stats { return Stats{} }

// Close does nothing.
func (*Guard) Close() error { return nil }

// TendInterval is how often Tend should be called.
const TendInterval = time.Second

// A Pulse cannot be had on this system.
type Pulse struct{}

// Beat does nothing.
func (*Pulse) Beat(bool) {}

// Stop does nothing.
func (*Pulse) Stop() {}

// Interval is a second.
func (*Pulse) Interval() time.Duration { return time.Second }

// Close does nothing.
func (*Pulse) Close() error { return nil }
