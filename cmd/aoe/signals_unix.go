//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals ask a process to end: from the keyboard, and from a service
// manager.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

// reloadSignals ask a process to read its configuration again.
var reloadSignals = []os.Signal{syscall.SIGHUP}
