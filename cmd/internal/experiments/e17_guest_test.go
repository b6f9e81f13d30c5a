package experiments

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/guest"
)

// TestGuestVerdicts: what the guests do is judged as it is. Package guest tests
// that guests run.
func TestGuestVerdicts(t *testing.T) {
	for _, c := range []struct {
		kernel, ours guest.Outcome
		want         Verdict
	}{
		{guest.Hung, guest.Survived, Holds},
		{guest.IOError, guest.Survived, Holds},
		{guest.Survived, guest.Survived, Partly},
		{guest.Hung, guest.WrongPage, Partly},
		{guest.Survived, guest.Hung, Fails},
	} {
		r, err := runGuests(context.Background(), Options{}, func(_ context.Context, r guest.Recipe) (*guest.Trial, error) {
			if r.Flood == 0 || r.UnreadBytes == 0 {
				t.Error("there is no flood")
			}
			trial := &guest.Trial{Outcome: c.ours, Took: time.Minute}
			if r.Initiator == "kernel" {
				trial.Outcome, trial.Why, trial.LogPath = c.kernel, []string{"the reason"}, "a.log"
			}
			return trial, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		told(t, kernelOrOurs(), r)
		reason := c.kernel == guest.Survived || strings.Contains(r.Stories[0], "the reason")
		if r.Verdict != c.want || !reason {
			t.Errorf("kernel %s, ours %s: %s, %q", c.kernel, c.ours, r.Verdict, r.Stories)
		}
	}
	wrong := errors.New("no")
	_, err := runGuests(context.Background(), Options{}, func(context.Context, guest.Recipe) (*guest.Trial, error) { return nil, wrong })
	if !errors.Is(err, wrong) {
		t.Error(err)
	}
}

// TestMeasuredIsAskedFor: nothing that costs something is run by itself.
func TestMeasuredIsAskedFor(t *testing.T) {
	for _, e := range Usual() {
		if e.Name == "E16" || e.Name == "E17" || e.Costs != "" {
			t.Errorf("%s is among the usual", e.Name)
		}
	}
	for _, name := range []string{"E16", "E17"} {
		if e, err := Find(name); err != nil || e.Kind() != "measured" || !strings.Contains(e.Costs, "root") {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
}
