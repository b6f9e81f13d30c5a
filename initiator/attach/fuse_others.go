//go:build !linux

package attach

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// fuseDevice cannot be made here.
type fuseDevice struct {
	fs   fileSystem
	done chan struct{}
}

type fileSystem struct{}

func (fileSystem) stats() FUSEStats { return FUSEStats{} }

var errNoLoop = fmt.Errorf("attach: loop devices are Linux's, not %s's: use the NBD socket: %w", runtime.GOOS, errors.ErrUnsupported)

func attachFUSE(context.Context, FUSEConfig, Info) (*Device, error) { return nil, errNoLoop }

func clearStale(context.Context, string) error { return errNoLoop }

func (*fuseDevice) close(context.Context) error   { return errNoLoop }
func (*fuseDevice) abandon(context.Context) error { return errNoLoop }
func (*fuseDevice) resize() error                 { return errNoLoop }
