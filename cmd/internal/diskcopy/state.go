package diskcopy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A state is what the state file holds.
type state struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	SizeBytes   int64  `json:"sizeBytes"`
	DoneBytes   int64  `json:"doneBytes"` // from the beginning
}

// ErrOtherCopy says that a state file is of a copy between other ends.
var ErrOtherCopy = errors.New("is of another copy")

// Begun reports whether the state file of a copy is there: the copy was
// interrupted, and its destination is to be left as it is.
func Begun(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}

// loadState reads what was left of the copy that is described by want, or returns
// want if nothing was.
func loadState(path string, want state) (state, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return want, nil
	}
	if err != nil {
		return want, err
	}
	var got state
	if err := json.Unmarshal(text, &got); err != nil {
		return want, fmt.Errorf("%s: %w: remove it to begin anew", path, err)
	}
	done := got.DoneBytes
	got.DoneBytes = 0
	if got != want || done < 0 || done > want.SizeBytes {
		return want, fmt.Errorf("%s %w (of %s to %s, or of a source that was changed since): remove it to begin anew",
			path, ErrOtherCopy, got.Source, got.Destination)
	}
	got.DoneBytes = done
	return got, nil
}

// save replaces the state file: after a crash there is the old or the new one.
func (s state) save(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
