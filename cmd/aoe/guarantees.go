package main

import (
	"fmt"
	"strings"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
)

// guaranteeRows are what holds when memory runs out, and what was done for it.
func guaranteeRows(t *show.Table, s rundir.Status) {
	if s.Tier != nil {
		t.Row("  tier", fmt.Sprintf("%s: %s", s.Tier.Name, s.Tier.Is))
		t.Row("  guaranteed", s.Tier.Guarantees)
		t.Row("  not guaranteed", s.Tier.Not)
		if len(s.Tier.Missing) > 0 {
			t.Row("  next tier needs", strings.Join(s.Tier.Missing, "; "))
		}
	}
	if s.Hardening == nil {
		return
	}
	for _, step := range s.Hardening.Steps {
		if step.Failure == "" {
			t.Row("  "+step.Name, step.Did)
			continue
		}
		t.Row("  "+step.Name, "FAILED: "+step.Failure)
		t.Row("", "without it "+step.Costs)
		t.Row("", "to mend it: "+step.Remedy)
	}
	if n := s.Hardening.ThreadsMade; n != nil {
		t.Row("  threads made", fmt.Sprintf("%d since it was sealed", *n))
	}
	if p := s.Hardening.Pressure; p != nil {
		now := "none"
		if p.On {
			now = "on"
		}
		t.Row("  pressure", fmt.Sprintf("%s; began %d times, ended %d times", now, p.Began, p.Ended))
	}
}
