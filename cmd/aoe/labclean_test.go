package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/lab"
)

// TestLabClean: what it would remove, what it removes, and that it does so once.
func TestLabClean(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no labs but on Linux")
	}
	place := t.TempDir()
	dead := filepath.Join(place, "aoe-lab-1")
	if err := errors.Join(os.MkdirAll(filepath.Join(dead, "run"), 0o700), os.WriteFile(filepath.Join(dead, "disk.img"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		want string
		left bool
	}{
		{[]string{"--dry-run"}, "to remove  directory " + dead, true},
		{nil, "removed    directory " + dead, false},
		{nil, "", false},
	} {
		out, stderr, status := aoe(t, append([]string{"lab", "clean", "--dir", place}, row.args...)...)
		if _, err := os.Stat(dead); status != exit.OK || !strings.Contains(out, row.want) || (err == nil) != row.left {
			t.Errorf("%v: %d, %v\n%s%s", row.args, status, err, out, stderr)
		}
		if row.want == "" && strings.Contains(out, place) {
			t.Errorf("once more: %s", out)
		}
	}
	out, _, status := aoe(t, "lab", "clean", "--dir", place, "--json")
	var found []lab.Leftover
	if err := json.Unmarshal([]byte(out), &found); err != nil || status != exit.OK {
		t.Errorf("%d, %v: %s", status, err, out)
	}
	if _, stderr, status := aoe(t, "lab", "clean", "--dir", filepath.Join(place, "none")); status != exit.Failed || stderr == "" {
		t.Errorf("no such directory: %d, %s", status, stderr)
	}
	if _, _, status := aoe(t, "lab", "clean", "everything"); status != exit.Usage {
		t.Errorf("an argument: %d", status)
	}
}
