//go:build unix

package lab

import (
	"os"
	"syscall"
)

const terminate = syscall.SIGTERM

// signalOf is the number of the signal that ended the process, 0 if none did.
func signalOf(p *os.ProcessState) int {
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return int(w.Signal())
	}
	return 0
}
