// Package scratch makes directories that do not outlive their process by more
// than the next run: each is locked by who made it, the lock ends with the
// process, and a directory that nobody has locked is a dead one's, to be swept.
package scratch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// New makes a directory of os.MkdirTemp's pattern in parent, which is ours until
// lock is closed. Whoever sweeps may take it for a dead one's in the moment
// before it is locked; then another is made.
func New(parent, pattern string) (dir string, lock io.Closer, err error) {
	for range 10 {
		if dir, err = os.MkdirTemp(parent, pattern); err != nil {
			return "", nil, err
		}
		if lock, err = tryLock(dir); err == nil {
			return dir, lock, nil
		}
	}
	return "", nil, fmt.Errorf("locking a directory in %s: %w", parent, err)
}

// Reasons why a directory cannot be claimed.
var (
	ErrNotOurs = errors.New("not a directory that this user made for itself alone")
	ErrAlive   = errors.New("in use by a process that lives")
)

// Claim locks a directory that a dead process made with New, or says with
// ErrNotOurs or ErrAlive why it is to be left alone.
func Claim(dir string) (lock io.Closer, err error) {
	if !ours(dir) {
		return nil, ErrNotOurs
	}
	return tryLock(dir)
}

// Sweep calls remove for each directory of pattern in parent whose maker is dead.
// Directories of others, and those that others may write to, are left alone: they
// could be a trap.
func Sweep(parent, pattern string, remove func(dir string) error) error {
	dirs, err := filepath.Glob(filepath.Join(parent, pattern))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		lock, err := Claim(dir)
		if err != nil {
			continue // not ours, or it lives, or was removed just now
		}
		if err := remove(dir); err != nil {
			errs = append(errs, fmt.Errorf("removing what a run that was killed left in %s: %w", dir, err))
		}
		errs = append(errs, lock.Close())
	}
	return errors.Join(errs...)
}
