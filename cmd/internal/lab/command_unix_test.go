//go:build unix

package lab

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"aoe/cmd/internal/exit"
)

// TestCommandsStatusIsReturned as a shell would return it.
func TestCommandsStatusIsReturned(t *testing.T) {
	for _, row := range []struct {
		name    string
		args    []string
		status  exit.Status
		message bool
	}{
		{"success", []string{"true"}, 0, false},
		{"failure", []string{"sh", "-c", "exit 7"}, 7, false},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 137, false},
		{"not found", []string{"aoe-no-such-program"}, exit.NotFound, true},
		{"no such path", []string{"/nowhere/program"}, exit.NotFound, true},
		{"not a program", []string{"/etc/passwd"}, exit.CannotRun, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := Command{Args: row.args}
			if s, m := exit.Of(c.Run(t.Context())); s != row.status || m != row.message {
				t.Errorf("status %d, message %v; want %d, %v", s, m, row.status, row.message)
			}
		})
	}
}

func TestCommandHasEnvironmentAndStandardStreams(t *testing.T) {
	var out, errs bytes.Buffer
	c := Command{
		Args: []string{"sh", "-c", `echo "$AOE_DEVICE"; cat; echo oops >&2`}, Env: []string{"AOE_DEVICE=/dev/loop7"},
		Stdin: bytes.NewBufferString("input\n"), Stdout: &out, Stderr: &errs,
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "/dev/loop7\ninput\n" || errs.String() != "oops\n" {
		t.Errorf("printed %q and %q", out.String(), errs.String())
	}
}

// TestInterruptedCommandIsAskedToEnd, and its own status is what counts.
func TestInterruptedCommandIsAskedToEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready, w := io.Pipe()
	c := Command{Args: []string{"sh", "-c", `trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`}, Stdout: w}
	go func() { // ends with the first line
		ready.Read(make([]byte, 10))
		cancel()
	}()
	began := time.Now()
	if s, _ := exit.Of(c.Run(ctx)); s != 9 {
		t.Errorf("status %d, want the command's own", s)
	}
	if took := time.Since(began); took > commandGrace {
		t.Errorf("took %v", took)
	}
}
