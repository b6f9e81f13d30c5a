package guest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestNewDirSweeps: what a guest that was killed left goes, what a living one has
// stays, and so does what is not ours.
func TestNewDirSweeps(t *testing.T) {
	parent := t.TempDir()
	alive, lock, err := newDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	dead, deadLock, err := newDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(dead, "e1.1.img"), nil, 0o600), deadLock.Close())
	foreign := filepath.Join(parent, "aoe-guest-run1-1.log")
	if err := errors.Join(err, os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, last, err := newDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	for path, want := range map[string]bool{alive: true, dead: false, foreign: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", filepath.Base(path), err, want)
		}
	}
}
