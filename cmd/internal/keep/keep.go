// Package keep keeps what was set of disks over the wire (config string, mask,
// reserve list) in a directory, one file for each disk, so that it survives a
// restart of the target (H24). It implements [target.Keeper].
//
// A change is written to a new file, synced, renamed over the old one, and the
// directory synced, so that a crash leaves the old settings or the new ones.
package keep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"aoe/frame"
	"aoe/target"
)

// A Dir is a directory of settings.
type Dir struct{ path string }

// Open makes the directory if it is missing.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("keep: %w", err)
	}
	return &Dir{path}, nil
}

func (d *Dir) file(addr frame.Addr) string { return filepath.Join(d.path, addr.String()+".json") }

// maxFileBytes is far more than any settings are.
const maxFileBytes = 1 << 20

// Load implements target.Keeper.
func (d *Dir) Load(addr frame.Addr) (target.Settings, error) {
	f, err := os.Open(d.file(addr))
	if errors.Is(err, os.ErrNotExist) {
		return target.Settings{}, target.ErrNothingKept
	}
	if err != nil {
		return target.Settings{}, fmt.Errorf("keep: %w", err)
	}
	defer f.Close()
	var s target.Settings
	dec := json.NewDecoder(io.LimitReader(f, maxFileBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return target.Settings{}, fmt.Errorf("keep: %s: %w: repair it, or remove it to begin without settings", f.Name(), err)
	}
	return s, nil
}

// Keep implements target.Keeper.
func (d *Dir) Keep(addr frame.Addr, s target.Settings) error {
	if err := d.keep(d.file(addr), s); err != nil {
		return fmt.Errorf("keep: %s: %w", addr, err)
	}
	return nil
}

func (d *Dir) keep(path string, s target.Settings) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return syncDir(d.path)
}

// syncDir makes a rename durable: "Calling fsync() does not necessarily ensure
// that the entry in the directory containing the file has also reached disk.
// For that an explicit fsync() on a file descriptor for the directory is also
// needed" (fsync(2)).
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
