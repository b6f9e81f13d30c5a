//go:build !linux

package veth

import (
	"errors"
	"fmt"
	"os/exec"
)

// errLinuxOnly is what everything here returns.
var errLinuxOnly = fmt.Errorf("veth: network namespaces exist on Linux only: %w", errors.ErrUnsupported)

type namespace struct{}

// Do fails: see errLinuxOnly.
func (n *namespace) Do(func() error) error { return errLinuxOnly }

// A Cmd cannot be started on this system.
type Cmd struct{ *exec.Cmd }

// Command prepares a Cmd that fails to start.
func (n *namespace) Command(name string, args ...string) *Cmd {
	c := exec.Command(name, args...)
	c.Err = errLinuxOnly
	return &Cmd{c}
}

// New fails: see errLinuxOnly.
func New(Config) (*Pair, error) { return nil, errLinuxOnly }

// NewBridge fails: see errLinuxOnly.
func NewBridge(Config, int) (*Bridge, error) { return nil, errLinuxOnly }

// Recreate fails: there are no pairs on this system.
func (p *Pair) Recreate() error { return errLinuxOnly }

// Unplug fails: there are no pairs on this system.
func (p *Pair) Unplug() error { return errLinuxOnly }

// Close does nothing.
func (p *Pair) Close() error { return nil }

// Close does nothing.
func (b *Bridge) Close() error { return nil }

// SetUp fails: there are no hosts on this system.
func (h *Host) SetUp(bool) error { return errLinuxOnly }

// SetMTU fails: there are no hosts on this system.
func (h *Host) SetMTU(int) error { return errLinuxOnly }

// Counters fails: there are no hosts on this system.
func (h *Host) Counters() (sent, received uint64, err error) { return 0, 0, errLinuxOnly }
