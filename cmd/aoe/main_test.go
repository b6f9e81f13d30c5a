package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
)

// aoe runs the command line in this process.
func aoe(t *testing.T, args ...string) (stdout, stderr string, status exit.Status) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &out, &err)
	return out.String(), err.String(), status
}

// TestEveryCommandDocumentsItself: what it does, an example and every exit
// status are in the help of each, because a manual page is made from it.
func TestEveryCommandDocumentsItself(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return // with all below it: what programs call
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Name() == "help" || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion" {
			return
		}
		if !strings.Contains(c.Long, "\nEXIT STATUS\n  0  ") {
			t.Errorf("%s: the help has no EXIT STATUS", c.CommandPath())
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s: the help has no example, or no summary", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if len([]rune(line)) > 82 {
				t.Errorf("%s: a line of the help is too long for a terminal: %s", c.CommandPath(), line)
			}
		}
	}
	walk(newRoot())
}

func TestMistakesInUsage(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"no such command", []string{"detatch"}, `did you mean "detach"?`},
		{"no such flag", []string{"version", "--jsn"}, "unknown flag: --jsn"},
		{"too few arguments", []string{"detach"}, "requires at least 1 arg"},
		{"too many arguments", []string{"version", "now"}, `unknown command "now"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, stderr, status := aoe(t, row.args...)
			if status != exit.Usage || !strings.Contains(stderr, row.want) {
				t.Errorf("status %d, message %q; want %d and %q", status, stderr, exit.Usage, row.want)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"stat", "--help"}} {
		if out, _, status := aoe(t, args...); status != exit.OK || !strings.Contains(out, "EXIT STATUS") {
			t.Errorf("aoe %v: status %d, printed %q", args, status, out)
		}
	}
}

func TestVersion(t *testing.T) {
	out, _, status := aoe(t, "version")
	if status != exit.OK || !strings.HasPrefix(out, "aoe ") {
		t.Errorf("status %d, printed %q", status, out)
	}
	out, _, _ = aoe(t, "version", "--json")
	var v version
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Go == "" {
		t.Errorf("%q: %v", out, err)
	}
}

func TestStatAndDetachWithNothingAttached(t *testing.T) {
	t.Setenv("AOE_RUN_DIR", t.TempDir())
	if out, _, status := aoe(t, "stat"); status != exit.OK || out != "" {
		t.Errorf("stat: status %d, printed %q", status, out)
	}
	if out, _, status := aoe(t, "stat", "--json"); status != exit.OK || out != "[]\n" {
		t.Errorf("stat --json: status %d, printed %q", status, out)
	}
	if _, stderr, status := aoe(t, "stat", "e1.1"); status != exit.Failed || !strings.Contains(stderr, "not attached") {
		t.Errorf("stat e1.1: status %d, message %q", status, stderr)
	}
	if _, stderr, status := aoe(t, "detach", "/dev/loop0"); status != exit.Failed || !strings.Contains(stderr, "not attached") {
		t.Errorf("detach: status %d, message %q", status, stderr)
	}
}

// TestStatPrintsAoeStatsColumns: what reads aoe-stat's output reads ours.
func TestStatPrintsAoeStatsColumns(t *testing.T) {
	var b bytes.Buffer
	err := printStatuses(&b, []rundir.Status{
		{Addr: frame.Addr{Shelf: 1, Slot: 1}, SizeBytes: 1 << 30, Interface: "eth0", State: "up", Device: "/dev/loop0"},
		{Addr: frame.Addr{Shelf: 10, Slot: 9}, Interface: "eth10", State: "attaching"},
		{Addr: frame.Addr{Shelf: 2, Slot: 0}, SizeBytes: 5e12, Interface: "eth0", State: "down", Reason: "no answer for 12s", Device: "/dev/loop1"},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := " e1.1     1.073GB   eth0  up                        /dev/loop0\n" +
		"e10.9        (NA)  eth10  attaching\n" +
		" e2.0  5000.000GB   eth0  down (no answer for 12s)  /dev/loop1\n"
	if b.String() != want {
		t.Errorf("printed\n%swant\n%s", b.String(), want)
	}
}

// TestInterruptedInWords: nobody wants to read of contexts.
func TestInterruptedInWords(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, said bytes.Buffer
	status := run(ctx, []string{"lab", "--dir", t.TempDir(), "--tree", "."}, &out, &said)
	if strings.Contains(said.String(), "lab: needs ") {
		t.Skip(said.String())
	}
	if status != exit.Interrupted || !strings.Contains(said.String(), "aoe: interrupted\n") {
		t.Errorf("status %d, message %q", status, said.String())
	}
}
