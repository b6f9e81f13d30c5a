//go:build !linux

package attach

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// ublkDevice cannot be made here.
type ublkDevice struct{ queue *ublkQueue }

var errNoUblk = fmt.Errorf("attach: ublk is Linux's, not %s's: use the NBD socket: %w", runtime.GOOS, errors.ErrUnsupported)

func attachUBLK(context.Context, UBLKConfig, Info) (*UBLKDevice, error) { return nil, errNoUblk }

func (*ublkDevice) close(context.Context) error   { return errNoUblk }
func (*ublkDevice) abandon(context.Context) error { return errNoUblk }
func (*ublkDevice) resize() error                 { return errNoUblk }
