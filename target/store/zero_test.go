package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestTrimKeepsItsPromise: a file system that turns out not to punch holes ends
// the trims that are told of, but those who were told before that trimmed bytes
// are read as zeros go on reading zeros.
func TestTrimKeepsItsPromise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	full := bytes.Repeat([]byte{0xff}, 1<<20)
	if err := os.WriteFile(path, full, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Info().TrimZeroes {
		t.Skip("needs a system whose files can have holes: Linux")
	}
	s.(*file).noTrim.Store(true)
	if i := s.Info(); i.Trim || i.TrimZeroes {
		t.Errorf("%+v tells of trims that there are not", i)
	}
	const off, n = 512, 200 << 10 // more than is written at once
	if err := s.Trim(off, n); err != nil {
		t.Fatal(err)
	}
	clear(full[off : off+n])
	got := make([]byte, len(full))
	if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, full) {
		t.Errorf("trimmed bytes are not zeros, or others are (%v)", err)
	}
}
