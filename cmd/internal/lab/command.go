package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"aoe/cmd/internal/exit"
)

// A Command is a program of the user's, run beside an attached disk.
type Command struct {
	Args   []string // program and arguments
	Env    []string // added to this process's
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Start starts the process, in a place of its own perhaps. Nil means
	// exec.Cmd.Start.
	Start func(*exec.Cmd) error
}

// commandGrace is how long a command may take to end when it has been asked
// to; then it is killed.
const commandGrace = 10 * time.Second

// Run runs the command to its end and returns its exit status as an error that
// carries it: 128 + n for one that was killed by signal n, 126 and 127 when it
// could not be run or found, as the shell does. When ctx ends, the command is
// asked to end as well.
func (c *Command) Run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(terminate) }
	cmd.WaitDelay = commandGrace
	start := c.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	// exec.Cmd reports the context's end instead of the exit status when the
	// command ended well after it was asked to.
	if cmd.ProcessState != nil {
		return exit.Silent(statusOf(cmd.ProcessState))
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exit.With(exit.NotFound, fmt.Errorf("lab: %w", err))
	case err != nil:
		return exit.With(exit.CannotRun, fmt.Errorf("lab: %w", err))
	}
	return nil
}

// statusOf is what the shell would put into $?.
func statusOf(p *os.ProcessState) exit.Status {
	if n := signalOf(p); n > 0 {
		return exit.Status(128 + n)
	}
	return exit.Status(p.ExitCode())
}
