//go:build unix

package control

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// unreachable tells a target that is gone from other failures.
func unreachable(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w", ErrNoTarget, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: only root, and the user who started it, may ask", err)
	}
	return err
}
