package keep

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"aoe/frame"
	"aoe/target"
)

var (
	e11    = frame.Addr{Shelf: 1, Slot: 1}
	sample = target.Settings{
		ConfigString: []byte("rack 7\x00\xff"),
		Mask:         []frame.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}},
		Reserve:      []frame.MAC{{2, 0, 0, 0, 0, 1}},
	}
)

// TestH24SettingsSurviveARestart: what was kept is there when the directory is
// opened anew, byte for byte, and other disks have nothing of it.
func TestH24SettingsSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(e11); !errors.Is(err, target.ErrNothingKept) {
		t.Errorf("at first: %v, want ErrNothingKept", err)
	}
	for _, s := range []target.Settings{{ConfigString: []byte("first")}, sample} {
		if err := d.Keep(e11, s); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Load(e11); err != nil || !reflect.DeepEqual(got, sample) {
		t.Errorf("after a restart: %+v, %v; want %+v", got, err, sample)
	}
	if _, err := again.Load(frame.Addr{Shelf: 1, Slot: 2}); !errors.Is(err, target.ErrNothingKept) {
		t.Errorf("another disk: %v", err)
	}
}

// TestCrashWhileKeepingLeavesTheOldSettings: a half-written new file is not
// looked at, and the next change replaces it.
func TestCrashWhileKeepingLeavesTheOldSettings(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Keep(e11, sample); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file(e11)+".new", []byte(`{"configString": "aGFs`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Load(e11); err != nil || !reflect.DeepEqual(got, sample) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := d.Keep(e11, target.Settings{}); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsToldAndNotGuessed: settings that cannot be read may have been a
// mask that keeps somebody out, so the disk is not served without them.
func TestDamageIsToldAndNotGuessed(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"masks": []}`, `{"mask": ["zz"]}`, `[]`} {
		if err := os.WriteFile(d.file(e11), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := d.Load(e11); err == nil || errors.Is(err, target.ErrNothingKept) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q was read as %+v, %v", text, s, err)
		}
	}
}

func TestUnwritableDirectoryIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file was opened as a directory")
	}
	d, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(d.path); err != nil {
		t.Fatal(err)
	}
	if err := d.Keep(e11, sample); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("keeping in a directory that is gone: %v", err)
	}
}
