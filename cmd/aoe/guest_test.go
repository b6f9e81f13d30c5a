package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
)

// TestGuestUsage: what does not fit together is refused before anything is
// fetched or booted.
func TestGuestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"nothing to run":   {},
		"not two of them":  {"--initiator", "ublk", "--", "true"},
		"write -- in":      {"true"},
		"is not a rate":    {"--flood", "-3"},
		"is not a size":    {"--fill", "much"},
		"to leave out":     {"--initiator", "ublk", "--ablate=luck"},
		"unknown flag":     {"--swap"},
		"one of --initiat": {"--script", "x", "--initiator", "kernel"},
	} {
		var out, errs bytes.Buffer
		status := run(context.Background(), append([]string{"lab", "guest"}, args...), &out, &errs)
		if status != exit.Usage || !strings.Contains(errs.String(), want) {
			t.Errorf("aoe lab guest %v: status %d, %q, want %d and %q", args, status, errs.String(), exit.Usage, want)
		}
	}
}

func TestFloodFlag(t *testing.T) {
	for text, want := range map[string]floodFlag{"0": 0, "5000": 5000, "max": -1} {
		var f floodFlag
		if err := f.Set(text); err != nil || f != want || f.String() != text {
			t.Errorf("%s is %d, %q (%v), want %d", text, f, f.String(), err, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	if got, want := quoted([]string{"sh", "-c", "echo 'a b'"}), `'sh' '-c' 'echo '\''a b'\'''`; got != want {
		t.Errorf("quoted is %s, want %s", got, want)
	}
}
