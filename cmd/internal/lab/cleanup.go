package lab

import (
	"context"
	"errors"
	"time"
)

// A cleanup undoes what was set up, in reverse order, whatever happens: every
// step that makes something pushes what removes it before the next is begun.
type cleanup struct {
	undo []undo
}

type undo struct {
	name string
	f    func(context.Context) error
}

// push adds what undoes the step just done.
func (c *cleanup) push(name string, f func(context.Context) error) {
	c.undo = append(c.undo, undo{name, f})
}

// teardownTimeout bounds the removal as a whole: a device that cannot be
// flushed must not keep the user from getting the shell back.
const teardownTimeout = 30 * time.Second

// run undoes everything, newest first, also when ctx is done: it is given a
// time of its own. Errors do not stop it.
func (c *cleanup) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTimeout)
	defer cancel()
	var errs []error
	for i := len(c.undo) - 1; i >= 0; i-- {
		if err := c.undo[i].f(ctx); err != nil {
			errs = append(errs, &teardownError{c.undo[i].name, err})
		}
	}
	c.undo = nil
	return errors.Join(errs...)
}

// A teardownError says what is perhaps still there.
type teardownError struct {
	name string
	err  error
}

func (e *teardownError) Error() string { return "lab: removing " + e.name + ": " + e.err.Error() }
func (e *teardownError) Unwrap() error { return e.err }
