//go:build !linux

package scratch

import (
	"io"
	"os"
)

// Without locks nothing can be told from what lives, so that nothing is swept.
func tryLock(dir string) (io.Closer, error) { return os.Open(dir) }

func ours(string) bool { return false }
