//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals ask a process to end: from the keyboard, and from a service
// manager.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}
