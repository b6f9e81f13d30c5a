package main

import (
	"slices"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
)

// TestMaskEditsAreNoFlags: -02:... removes a MAC and -i names an interface, in
// any order.
func TestMaskEditsAreNoFlags(t *testing.T) {
	for _, row := range []struct{ args, edits, rest string }{
		{"e1.1", "", "e1.1"},
		{"-i eth0 e1.1 +self -02:00:00:00:00:07", "+self -02:00:00:00:00:07", "-i eth0 e1.1"},
		{"+020000000007 e1.1 --json", "+020000000007", "e1.1 --json"},
		{"e1.1 -- -02:00:00:00:00:07", "", "e1.1 -02:00:00:00:00:07"},
		{"e1.1 -t 1s -02-00-00-00-00-07", "-02-00-00-00-00-07", "e1.1 -t 1s"},
	} {
		edits, rest := maskEdits(strings.Fields(row.args))
		if !slices.Equal(edits, strings.Fields(row.edits)) || !slices.Equal(rest, strings.Fields(row.rest)) {
			t.Errorf("%s: edits %q, rest %q", row.args, edits, rest)
		}
	}
}

func TestMistakesInAccess(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"mask"}, "want one address"},
		{[]string{"mask", "e1.1", "-02:00:00:00:00"}, "unknown shorthand"},
		{[]string{"mask", "e1.*"}, "may be many disks"},
		{[]string{"cfg", "e1.*", "fset", "x"}, "may be many disks"},
		{[]string{"cfg", "e1.1", "test"}, "takes a string"},
		{[]string{"cfg", "e1.1", "write", "x"}, "want read, test"},
		{[]string{"cfg", "e1.1", "read", "x"}, "takes no string"},
		{[]string{"cfg", "e1.1", "set", strings.Repeat("x", 1025)}, "at most 1024"},
		{[]string{"cfg", "e1.1", "--mac", "me"}, "me"},
		{[]string{"reserve", "e1.1", "take"}, "want read, set or force"},
		{[]string{"reserve", "e1.1", "read", "self"}, "takes no MACs"},
		{[]string{"release"}, "accepts 1 arg"},
		{[]string{"identify", "e1.1", "--smart", "format"}, "no command"},
		{[]string{"identify", "e1.1", "--raw", "--hex"}, "one of them"},
		{[]string{"flush", "--cache"}, "takes one address"},
		{[]string{"flush", "-a", "e1.1"}, "takes no names"},
	} {
		_, stderr, status := aoe(t, row.args...)
		if status != exit.Usage || !strings.Contains(stderr, row.want) {
			t.Errorf("aoe %v: status %d, message %q; want %d and %q", row.args, status, stderr, exit.Usage, row.want)
		}
	}
	if out, _, status := aoe(t, "mask", "--help"); status != exit.OK || !strings.Contains(out, "+self") {
		t.Errorf("mask --help: status %d, printed %q", status, out)
	}
}

// TestNothingToFlush: no disk is attached, so none is down.
func TestNothingToFlush(t *testing.T) {
	t.Setenv("AOE_RUN_DIR", t.TempDir())
	for _, args := range [][]string{{"flush"}, {"flush", "-a"}} {
		if out, stderr, status := aoe(t, args...); status != exit.OK || out != "" {
			t.Errorf("aoe %v: status %d, %q, %q", args, status, out, stderr)
		}
	}
	for _, args := range [][]string{{"flush", "e1.1"}, {"revalidate", "e1.1"}} {
		if _, stderr, status := aoe(t, args...); status != exit.Failed || !strings.Contains(stderr, "not attached") {
			t.Errorf("aoe %v: status %d, %q", args, status, stderr)
		}
	}
}

func TestWhatRevalidateTells(t *testing.T) {
	was := rundir.Status{Serial: "A", SizeBytes: 1 << 30}
	for _, row := range []struct {
		now  frame.Identify
		want string
	}{
		{frame.Identify{Serial: "A", Sectors: 1 << 21}, ""},
		{frame.Identify{Serial: "A", Sectors: 1 << 22}, "it has grown to 2.147GB, and is used as one of 1.073GB"},
		{frame.Identify{Serial: "A", Sectors: 1 << 20}, "it has shrunk to 0.536GB, and is used as one of 1.073GB"},
		{frame.Identify{Serial: "B", Sectors: 1 << 21}, `another disk answers: serial "B", attached was "A"`},
	} {
		if got := strings.Join(differences(was, row.now), "; "); got != row.want {
			t.Errorf("%+v: %q, want %q", row.now, got, row.want)
		}
	}
}
