package lab

import (
	"os"
	"path/filepath"
	"testing"

	"aoe/cmd/internal/scratch"
)

// TestSweepRemovesTheDeadAndNothingElse.
func TestSweepRemovesTheDeadAndNothingElse(t *testing.T) {
	parent := t.TempDir()
	place := func(name string, mode os.FileMode) string {
		dir := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Join(dir, "run"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "disk.img"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dead := place("aoe-lab-dead", 0o700)
	alive, lock, err := scratch.New(parent, dirPattern)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.WriteFile(filepath.Join(alive, "disk.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := place("aoe-lab-open", 0o777) // not made by a lab
	other := place("something", 0o700)
	link := filepath.Join(parent, "aoe-lab-link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if err := sweep(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the dead lab is still there: %v", err)
	}
	for _, dir := range []string{alive, open, other} {
		if _, err := os.Stat(filepath.Join(dir, "disk.img")); err != nil {
			t.Errorf("%s was swept: %v", dir, err)
		}
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("a link was swept: %v", err)
	}
}
