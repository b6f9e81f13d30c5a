package hold

import (
	"testing"
	"time"

	"aoe/initiator"
)

// TestRehearsal does what is asked of it, soon, and leaves nothing.
func TestRehearsal(t *testing.T) {
	_, _, port := segment(t, 0)
	began := time.Now()
	if err := rehearse(t.Context(), initiator.Config{Link: port}); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v", time.Since(began))
	if err := port.Close(); err != nil {
		t.Error(err)
	}
}
