//go:build !unix

package control

import (
	"errors"
	"fmt"
	"os"
)

// unreachable tells a target that is gone from other failures.
func unreachable(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoTarget, err)
	}
	return err
}
