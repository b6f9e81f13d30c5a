package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"aoe/cmd/internal/orphan"
)

// An owner is the process that a lab is in, as it is written into the lab's
// directory: for whoever finds that directory when the process was killed.
type owner struct {
	orphan.Process
	Boot string `json:"boot"` // of the machine: after the next, all numbers mean others
	// Namespaces are the numbers of the lab's network namespaces; none where
	// the kernel has no such numbers.
	Namespaces []uint64 `json:"namespaces,omitempty"`
}

// ownerFile is its name in the directory.
const ownerFile = "owner.json"

// bootID is another one each time the machine starts; empty where it is not
// known.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // not there but on Linux
	return strings.TrimSpace(string(text))
}

// write puts o into dir, whole or not at all.
func (o owner) write(dir string) error {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	path := filepath.Join(dir, ownerFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// readOwner is who made dir, as far as that is known: a lab that was killed at
// once has not written it, and one from before the machine started last is
// nobody's any more.
func readOwner(dir string) (o owner, known bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return o, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return owner{}, false, fmt.Errorf("lab: who made %s: %w", dir, err)
	}
	if o.Boot != bootID() {
		return owner{}, false, nil
	}
	return o, true, nil
}

// own writes down that this process is the lab's, in the given namespaces.
func (l *Lab) own(namespaces ...uint64) error {
	self, err := orphan.Self()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return owner{self, bootID(), namespaces}.write(l.dir)
}
