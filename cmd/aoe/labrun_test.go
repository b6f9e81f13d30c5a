package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/experiments"
)

func TestLabList(t *testing.T) {
	out, stderr, status := aoe(t, "lab", "list")
	if status != exit.OK || !strings.Contains(out, "E12") || !strings.Contains(out, "E18") {
		t.Errorf("%d\n%s%s", status, out, stderr)
	}
	out, _, _ = aoe(t, "lab", "list", "--json")
	var all []experiments.Experiment
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != len(experiments.All()) {
		t.Errorf("%d experiments, %v", len(all), err)
	}
}

func TestLabRun(t *testing.T) {
	out, stderr, status := aoe(t, "lab", "run", "e2", "E8")
	if status != exit.OK || !strings.Contains(out, "The golden table") || !strings.Contains(out, "off the protocol list") {
		t.Errorf("%d\n%s%s", status, out, stderr)
	}
	out, _, status = aoe(t, "lab", "run", "E4", "--seeds", "3", "--json")
	var entries []experiments.Entry
	if err := json.Unmarshal([]byte(out), &entries); err != nil || status != exit.OK || len(entries) != 1 || entries[0].Result.Verdict != experiments.Holds {
		t.Errorf("%d: %v: %s", status, err, out)
	}
	_, stderr, status = aoe(t, "lab", "run", "E99")
	if status != exit.Usage || !strings.Contains(stderr, "E99") || !strings.Contains(stderr, "E14") {
		t.Errorf("%d: %s", status, stderr)
	}
}

func TestLabReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "report")
	out, stderr, status := aoe(t, "lab", "report", "-o", dir, "--seeds", "3", "E2", "E4", "E12", "e2")
	if status != exit.OK || strings.TrimSpace(out) != filepath.Join(dir, "index.html") {
		t.Fatalf("%d: %s%s", status, out, stderr)
	}
	for _, name := range []string{"index.html", "report.json", "e2-1.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var report experiments.Report
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || len(report.Entries) != 3 {
		t.Errorf("%d experiments of the three that were named: %v", len(report.Entries), err)
	}
	if _, stderr, status = aoe(t, "lab", "report"); status != exit.Usage || !strings.Contains(stderr, "-o DIR") {
		t.Errorf("%d: %s", status, stderr)
	}
}
