//go:build !linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func sweep(context.Context, string) error { return nil }

func clean(context.Context, CleanConfig) ([]Leftover, error) {
	return nil, fmt.Errorf("lab: there are no labs on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
