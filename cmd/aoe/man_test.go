package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/manual"
)

// TestManualPages: there is one of every command that people call, with its exit
// statuses, which are those of package exit, and groff finds nothing wrong.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if out, stderr, status := aoe(t, "man", "-o", dir); status != exit.OK || !strings.Contains(out, "pages written") {
		t.Fatalf("status %d, %q, %q", status, out, stderr)
	}
	known := []int{
		int(exit.OK), int(exit.Failed), int(exit.Usage), int(exit.NoAnswer), int(exit.InUse),
		int(exit.LabFailed), int(exit.CannotRun), int(exit.NotFound), int(exit.Interrupted),
	}
	code := regexp.MustCompile(`(?m)^\.B ([0-9]+)$`)
	pages := manual.Pages(newRoot())
	if len(pages) < 20 {
		t.Errorf("only %d commands have a page", len(pages))
	}
	for _, c := range pages {
		text, err := os.ReadFile(filepath.Join(dir, manual.Name(c)+".8"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES"} {
			if !strings.Contains(string(text), "\n.SH "+section+"\n") {
				t.Errorf("%s has no %s", manual.Name(c), section)
			}
		}
		codes := code.FindAllStringSubmatch(string(text), -1)
		if len(codes) == 0 {
			t.Errorf("%s lists no exit status", manual.Name(c))
		}
		for _, m := range codes {
			if n, err := strconv.Atoi(m[1]); err != nil || !slices.Contains(known, n) {
				t.Errorf("%s: exit status %s is none of ours", manual.Name(c), m[1])
			}
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("needs groff to check the pages: apt-get install groff-base")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.8"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if out, err := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff of %s: %v\n%s", filepath.Base(file), err, out)
		}
	}
}

func TestOneManualPage(t *testing.T) {
	if out, _, status := aoe(t, "man", "lab", "guest"); status != exit.OK || !strings.Contains(out, ".TH AOE-LAB-GUEST 8") {
		t.Errorf("status %d, %q", status, out)
	}
	for _, args := range [][]string{{"man", "format"}, {"man", "-o", t.TempDir(), "stat"}, {"man", "lab-worker"}} {
		if _, stderr, status := aoe(t, args...); status != exit.Usage {
			t.Errorf("aoe %v: status %d, %q", args, status, stderr)
		}
	}
}

// TestCompletion of commands, flags and their values, as the shells ask for it.
func TestCompletion(t *testing.T) {
	t.Setenv("AOE_RUN_DIR", t.TempDir())
	for _, row := range []struct {
		args string
		want string
	}{
		{"san", "sancheck\t"},
		{"cfg e1.1 --ti", "--timeout\t"},
		{"ping --link ra", "raw"},
		{"detach ", ":4"}, // nothing is attached, and no files are offered
	} {
		args := append([]string{"__complete"}, strings.Split(row.args, " ")...)
		if out, _, status := aoe(t, args...); status != exit.OK || !strings.Contains(out, row.want) {
			t.Errorf("aoe %s<TAB>: status %d, %q; want %q", row.args, status, out, row.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, _, status := aoe(t, "completion", shell); status != exit.OK || !strings.Contains(out, "__complete") {
			t.Errorf("completion %s: status %d, %d bytes", shell, status, len(out))
		}
	}
}
