// Package exit gives the program's errors the status that the process ends
// with. The statuses are part of the command line's contract: scripts test
// them, and every subcommand's help lists those it uses.
//
// An error without a status means Failed. A status is attached once, where the
// cause is known, and survives wrapping.
package exit

import (
	"context"
	"errors"
	"fmt"
)

// A Status is what the process returns to its parent.
type Status int

// The statuses of every subcommand. 125 to 127 and 128+n are those of env(1),
// timeout(1) and the shell, and are used where a command of the user's is run.
const (
	OK          Status = 0   // all of it was done
	Failed      Status = 1   // something went wrong; the message says what
	Usage       Status = 2   // the command line was not understood
	NoAnswer    Status = 3   // nobody answered on the network
	InUse       Status = 4   // refused: mounted, used as swap, or attached already
	LabFailed   Status = 125 // aoe lab could not be set up, so COMMAND did not run
	CannotRun   Status = 126 // COMMAND was found but could not be run
	NotFound    Status = 127 // COMMAND was not found
	Interrupted Status = 130 // SIGINT, as the shell says it: 128 + 2
)

// An Error is an error with a status.
type Error struct {
	Status Status
	Err    error // nil when there is nothing to say beyond the status
}

// Error is the text of the wrapped error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

// Unwrap is the error that got the status.
func (e *Error) Unwrap() error { return e.Err }

// With attaches a status to err. A nil err stays nil.
func With(s Status, err error) error {
	if err == nil {
		return nil
	}
	return &Error{s, err}
}

// Silent ends the process with a status and without a message, for when what
// there was to say has been printed. OK is no error.
func Silent(s Status) error {
	if s == OK {
		return nil
	}
	return &Error{Status: s}
}

// Usagef is a mistake on the command line.
func Usagef(format string, args ...any) error {
	return &Error{Usage, fmt.Errorf(format, args...)}
}

// Of is the status to end with because of err, and whether err has something
// to print.
func Of(err error) (s Status, message bool) {
	if err == nil {
		return OK, false
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status, e.Err != nil
	}
	if errors.Is(err, context.Canceled) {
		return Interrupted, true
	}
	return Failed, true
}
