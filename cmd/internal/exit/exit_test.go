package exit

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestStatusOfAnError(t *testing.T) {
	plain := errors.New("disk on fire")
	for _, row := range []struct {
		name    string
		err     error
		status  Status
		message bool
	}{
		{"no error", nil, OK, false},
		{"an error nobody classified", plain, Failed, true},
		{"a mistake in usage", Usagef("no such flag"), Usage, true},
		{"a status survives wrapping", fmt.Errorf("attach: %w", With(InUse, plain)), InUse, true},
		{"a status without a message", Silent(NoAnswer), NoAnswer, false},
		{"silence about success", Silent(OK), OK, false},
		{"a status on no error", With(Failed, nil), OK, false},
		{"interrupted", fmt.Errorf("lab: %w", context.Canceled), Interrupted, true},
		{"interrupted, but classified first", With(NoAnswer, context.Canceled), NoAnswer, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if s, m := Of(row.err); s != row.status || m != row.message {
				t.Errorf("Of(%v) = %d, %v; want %d, %v", row.err, s, m, row.status, row.message)
			}
		})
	}
	if err := With(InUse, plain); !errors.Is(err, plain) || err.Error() != plain.Error() {
		t.Errorf("With hides the error it wraps: %v", err)
	}
	if got := Silent(NotFound).Error(); got != "exit status 127" {
		t.Errorf("a silent error prints %q", got)
	}
}
