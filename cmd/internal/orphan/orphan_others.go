//go:build !linux

package orphan

import (
	"context"
	"errors"
	"os"
	"time"
)

// Self is this process.
func Self() (Process, error) { return Process{PID: os.Getpid()}, nil }

// Dying reports whether p was killed and cannot end.
func (p Process) Dying() bool { return false }

// Find finds nothing: who carries a mark cannot be told here.
func Find(string) ([]Process, error) { return nil, nil }

// Within finds nothing.
func Within([]uint64) (map[uint64][]Process, error) { return nil, nil }

// Namespace is not known here.
func Namespace() (uint64, error) { return 0, errors.ErrUnsupported }

// End ends nobody.
func End(_ context.Context, all []Process, _ time.Duration) ([]Process, error) { return all, nil }

// Dirs finds nothing.
func Dirs() ([]string, error) { return nil, nil }
