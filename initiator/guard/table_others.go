//go:build !linux

package guard

import (
	"errors"
	"fmt"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

var errLinux = fmt.Errorf("guard: eBPF is Linux's: %w", errors.ErrUnsupported)

// A Table cannot be made on this system.
type Table struct{}

// NewTable fails with an error wrapping errors.ErrUnsupported.
func NewTable(frame.Addr, int) (*Table, error) { return nil, errLinux }

// FilterFD is none.
func (*Table) FilterFD() int { return -1 }

// Slots implements engine.Tags.
func (*Table) Slots() int { return 0 }

// Ask does nothing.
func (*Table) Ask() {}

// SetPaths does nothing.
func (*Table) SetPaths(frame.MAC, []frame.MAC) {}

// SetTags does nothing.
func (*Table) SetTags(int32, uint32, uint32, aoe.Command) {}

// Stats are empty.
func (*Table) Stats() FilterStats { return FilterStats{} }

// Close does nothing.
func (*Table) Close() error { return nil }
