package lab

import (
	"errors"
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

// TestBlockDevicesOfADeadLab, of --via ublk and --via nbd-kernel, are told of, ended
// before anything that would wait for them, and waited for. This is about the lab's
// part; package attach tests what it finds and ends on a made-up system.
func TestBlockDevicesOfADeadLab(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "aoe-lab-dead")
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	var asked []string
	device, ended, looks := "/dev/ublkb7", false, 0
	k := leaver{
		devices: func(name, serial string) ([]string, error) {
			if name != "e1.1" || serial != serialIn(dir) || serial == serialIn(dir+"2") {
				return nil, nil
			}
			if ended {
				if looks++; looks > 3 { // it takes a moment
					return nil, nil
				}
			}
			return []string{device}, nil
		},
		end: func(_, serial string) error {
			asked, ended = append(asked, serial), true
			return nil
		},
	}
	want := Item{"block device", device}
	if left, err := k.cleanDir(t.Context(), dir, true); err != nil || !slices.Contains(left.Removed, want) || ended {
		t.Fatalf("a dry run: %+v, %v", left, err)
	}
	left, err := k.cleanDir(t.Context(), dir, false)
	if err != nil || len(left.Kept) > 0 || !slices.Contains(left.Removed, want) {
		t.Errorf("%+v, %v", left, err)
	}
	if !slices.Equal(asked, []string{serialIn(dir)}) {
		t.Errorf("ended the devices of %q", asked)
	}
	nothingLeft(t, parent, nil)
}

// TestBlockDeviceThatStays is kept, and why; so is the directory, which says whose it
// is.
func TestBlockDeviceThatStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "aoe-lab-dead")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k := leaver{
		devices: func(string, string) ([]string, error) { return []string{"/dev/nbd0"}, nil },
		end:     func(string, string) error { return errors.New("the kernel does not want to") },
	}
	left, err := k.cleanDir(t.Context(), dir, false)
	if err != nil || len(left.Removed) > 0 || len(left.Kept) != 2 || left.Why != "the kernel does not want to" {
		t.Errorf("%+v, %v", left, err)
	}
}
