//go:build !unix

package background

import (
	"os"
	"os/exec"
)

func detach(*exec.Cmd) {}

func askToEnd(p *os.Process) { _ = p.Kill() }
