package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSweep: what a dead run left goes, what a living one has stays, and so does
// what is not ours or no directory.
func TestSweep(t *testing.T) {
	const pattern = "run-*"
	parent := t.TempDir()
	alive, lock, err := New(parent, pattern)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	dead, deadLock, err := New(parent, pattern)
	if err != nil {
		t.Fatal(err)
	}
	open, file, link := filepath.Join(parent, "run-open"), filepath.Join(parent, "run-1.log"), filepath.Join(parent, "run-link")
	err = errors.Join(deadLock.Close(), os.WriteFile(filepath.Join(dead, "image"), nil, 0o600),
		os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600), os.Symlink(t.TempDir(), link))
	if err != nil {
		t.Fatal(err)
	}
	if err := Sweep(parent, pattern, os.RemoveAll); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{alive: true, dead: false, open: true, file: true, link: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", filepath.Base(path), err, want)
		}
	}
}

// TestSweepTells what could not be removed, and goes on.
func TestSweepTells(t *testing.T) {
	parent := t.TempDir()
	for range 2 {
		_, lock, err := New(parent, "run-*")
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	busy, calls := errors.New("something is mounted in it"), 0
	err := Sweep(parent, "run-*", func(string) error { calls++; return busy })
	if !errors.Is(err, busy) || !strings.Contains(err.Error(), parent) || calls != 2 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

// TestNewFails where no directory can be made.
func TestNewFails(t *testing.T) {
	if _, _, err := New(filepath.Join(t.TempDir(), "none"), "run-*"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestClaim says why a directory is to be left alone.
func TestClaim(t *testing.T) {
	parent := t.TempDir()
	dir, lock, err := New(parent, "run-*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(dir); !errors.Is(err, ErrAlive) {
		t.Errorf("claiming what is in use: %v, want ErrAlive", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	claimed, err := Claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(dir); !errors.Is(err, ErrAlive) {
		t.Errorf("claiming it twice: %v, want ErrAlive", err)
	}
	if err := errors.Join(claimed.Close(), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, filepath.Join(parent, "none")} {
		if _, err := Claim(name); !errors.Is(err, ErrNotOurs) {
			t.Errorf("claiming %s: %v, want ErrNotOurs", name, err)
		}
	}
}
