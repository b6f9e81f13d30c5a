//go:build !linux

package harden

import "errors"

// errors.ErrUnsupported for every step: swapping to a disk of our own is known to
// work on Linux only.
type nowhere struct{}

func realSystem() system { return nowhere{} }

func (nowhere) execAsIOFlusher() error                   { return errors.ErrUnsupported }
func (nowhere) executed() bool                           { return false }
func (nowhere) threads() ([]thread, error)               { return nil, errors.ErrUnsupported }
func (nowhere) makeThreads(int) error                    { return errors.ErrUnsupported }
func (nowhere) allowRunning(int)                         {}
func (nowhere) setRealTime() error                       { return errors.ErrUnsupported }
func (nowhere) setOOMScore(int) error                    { return errors.ErrUnsupported }
func (nowhere) sysctl(sysctl) (int, error)               { return 0, errors.ErrUnsupported }
func (nowhere) setSysctl(sysctl, int) error              { return errors.ErrUnsupported }
func (nowhere) total() (int64, error)                    { return 0, errors.ErrUnsupported }
func (nowhere) collect(int)                              {}
func (nowhere) heapAllocated() uint64                    { return 0 }
func (nowhere) lockFuture() error                        { return errors.ErrUnsupported }
func (nowhere) unlock() error                            { return errors.ErrUnsupported }
func (nowhere) mappings() ([]mapping, error)             { return nil, errors.ErrUnsupported }
func (nowhere) resident(uintptr, uintptr) (bool, error)  { return false, errors.ErrUnsupported }
func (nowhere) lock(start, bytes uintptr, on bool) error { return errors.ErrUnsupported }
