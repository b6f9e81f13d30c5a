//go:build !linux

package attach

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// nbdKernelDevice cannot be made here.
type nbdKernelDevice struct {
	counters nbdCounters
	done     chan struct{}
}

var errNoNBDKernel = fmt.Errorf("attach: the NBD client in the kernel is Linux's, not %s's: use the NBD socket: %w", runtime.GOOS, errors.ErrUnsupported)

func attachNBDKernel(context.Context, NBDKernelConfig, Info) (*NBDKernelDevice, error) {
	return nil, errNoNBDKernel
}

func (*nbdKernelDevice) close(context.Context) error   { return errNoNBDKernel }
func (*nbdKernelDevice) abandon(context.Context) error { return errNoNBDKernel }
func (*nbdKernelDevice) resize() error                 { return errNoNBDKernel }
