//go:build !linux

package xdp

import (
	"errors"
	"fmt"
	"time"

	"aoe/frame/link"
)

// A Link cannot be opened on this system.
type Link struct{}

var errLinux = fmt.Errorf("xdp: AF_XDP is Linux's: use the raw link: %w", errors.ErrUnsupported)

// Open fails with an error wrapping errors.ErrUnsupported.
func Open(Config) (*Link, error) { return nil, errLinux }

// Recv fails.
func (*Link) Recv([][]byte, time.Duration) (int, error) { return 0, errLinux }

// Send fails.
func (*Link) Send([][]byte) (int, error) { return 0, errLinux }

// Wake does nothing.
func (*Link) Wake() {}

// State is empty.
func (*Link) State() link.State { return link.State{} }

// Stats are empty.
func (*Link) Stats() link.Stats { return link.Stats{} }

// Close does nothing.
func (*Link) Close() error { return nil }
