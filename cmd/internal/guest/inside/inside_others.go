//go:build !linux

package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

var errLinuxOnly = fmt.Errorf("inside: runs on Linux only: %w", errors.ErrUnsupported)

// Run fails: see errLinuxOnly.
func (c Fill) Run() error { return errLinuxOnly }

// Run fails: see errLinuxOnly.
func (c Check) Run(io.Writer) error { return errLinuxOnly }

// Watch fails: see errLinuxOnly.
func Watch(context.Context, time.Duration) error { return errLinuxOnly }
