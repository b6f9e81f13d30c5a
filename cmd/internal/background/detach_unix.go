//go:build unix

package background

import (
	"os"
	"os/exec"
	"syscall"
)

// detach gives the process a session of its own: "a child process in a new
// session has no controlling terminal" (setsid(2)), so that Ctrl-C in front does
// not reach it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func askToEnd(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }
