package target

import (
	"fmt"
	"strings"
)

// A Mode is what a disk promises of a write that it has answered.
type Mode uint8

const (
	// ModeSync: it is on stable storage. Writes that arrive while a sync is
	// under way share the next one.
	ModeSync Mode = iota
	// ModeFlush: it will be after the next FLUSH. IDENTIFY says that there is
	// a write cache.
	ModeFlush
	// ModeDirect: as ModeSync, and data does not stay in the page cache. The
	// store must be one that goes past it (store.Info.Direct). That alone is
	// not durable: the device may have a cache of its own, and the file system
	// has yet to write down where the data is, so the sync remains.
	ModeDirect
	numModes
)

var modeNames = [numModes]string{"sync", "flush", "direct"}

func (m Mode) String() string {
	if m < numModes {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode is the inverse of String. It also understands what the first two
// modes were called at first, write-through and write-back.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "write-through":
		return ModeSync, nil
	case "write-back":
		return ModeFlush, nil
	}
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("target: there is no mode %q: want one of %s", s, strings.Join(modeNames[:], ", "))
}

// MarshalText makes a Mode a readable string in JSON.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}

// answersSynced reports whether a write is answered only after a sync.
func (m Mode) answersSynced() bool { return m != ModeFlush }
