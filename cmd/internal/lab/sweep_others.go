//go:build !linux

package lab

import (
	"context"
	"fmt"
	"runtime"

	"errors"
)

func sweep(context.Context, string) error { return nil }

func clean(context.Context, CleanConfig) ([]Leftover, error) {
	return nil, fmt.Errorf("lab: there are no labs on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
