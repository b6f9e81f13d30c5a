// Package background moves a command into the background without losing what
// it has to say: the program starts itself again, detached from the terminal,
// and waits until that process is ready or has failed.
//
// [Start] is called by the process in front, [Ready] by the one behind it, which
// [Inside] tells that it is that.
package background

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"aoe/cmd/internal/exit"
)

// readyVariable marks the process behind.
const readyVariable = "AOE_BACKGROUND"

// readyFD is the descriptor that the process behind reports on: the first of
// exec.Cmd.ExtraFiles.
const readyFD = 3

// A report is what the process behind says, once.
type report struct {
	Say    string      `json:"say"` // for standard output
	Error  string      `json:"error"`
	Status exit.Status `json:"status"`
}

// Inside reports whether this is the process behind.
func Inside() bool { return os.Getenv(readyVariable) != "" }

// Start runs this program again with args, with its messages going to the file
// log, and waits until it is ready. It returns what that process has to say, or
// the error it failed with, with its exit status. When ctx ends first, the
// process is asked to end.
func Start(ctx context.Context, args []string, log string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("background: %w", err)
	}
	messages, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return "", fmt.Errorf("background: %w", err)
	}
	defer messages.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("background: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), readyVariable+"=1")
	cmd.Stdout, cmd.Stderr = messages, messages
	cmd.ExtraFiles = []*os.File{w}
	detach(cmd)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return "", fmt.Errorf("background: %w", err)
	}
	defer context.AfterFunc(ctx, func() { askToEnd(cmd.Process) })()
	said, err := wait(r)
	if err != nil {
		// It ended without a word: its exit status is all there is.
		werr := cmd.Wait()
		return "", fmt.Errorf("background: the process failed (%v): see %s", werr, log)
	}
	if said.Error != "" || said.Status != exit.OK {
		_ = cmd.Wait() // it ends; its status was in the report
		return "", exit.With(said.Status, errors.New(said.Error))
	}
	return said.Say, cmd.Process.Release()
}

// maxReportBytes bounds what is read from the process behind.
const maxReportBytes = 1 << 20

func wait(r io.Reader) (report, error) {
	var said report
	err := json.NewDecoder(io.LimitReader(r, maxReportBytes)).Decode(&said)
	return said, err
}

// Ready tells the process in front that it may end: with say on its standard
// output, or with err. It is called once.
func Ready(say string, err error) error {
	f := os.NewFile(readyFD, "ready")
	said := report{Say: say}
	if err != nil {
		said.Error = err.Error()
		said.Status, _ = exit.Of(err)
	}
	return errors.Join(json.NewEncoder(f).Encode(said), f.Close())
}
