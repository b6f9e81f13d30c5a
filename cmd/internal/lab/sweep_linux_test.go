package lab

import (
	"os"
	"path/filepath"
	"slices"
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

// TestLoopsAreFoundByTheirFile, and those of others are not.
func TestLoopsAreFoundByTheirFile(t *testing.T) {
	root := t.TempDir()
	for name, file := range map[string]string{
		"loop0": "/tmp/aoe-lab-1/run/e1.1/mnt/disk\n", "loop1": "/tmp/aoe-lab-12/run/e1.1/mnt/disk\n", "loop2": "/home/tmp/aoe-lab-1/x\n",
		"loop30": "/tmp/aoe-lab-1/disk.img\n", "loop4": "",
	} {
		dir := filepath.Join(root, "sys/block", name)
		if file != "" {
			dir = filepath.Join(dir, "loop")
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if file == "" {
			continue // it shows nothing
		}
		if err := os.WriteFile(filepath.Join(dir, "backing_file"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := loopsIn(root, "/tmp/aoe-lab-1")
	if want := []string{"/dev/loop0", "/dev/loop30"}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, %v; want %v", found, err, want)
	}
}
