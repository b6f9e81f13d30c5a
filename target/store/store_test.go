package store_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// image makes a sparse file of size bytes in dir.
func image(t *testing.T, dir string, size int64) string {
	t.Helper()
	p := filepath.Join(dir, "disk.img")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, cfg store.Config) store.Store {
	t.Helper()
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestMemoryConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store { return store.Memory(size) })
}

func TestFileConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return open(t, store.Config{Path: image(t, t.TempDir(), size)})
	})
}

func TestWindowConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		p := image(t, t.TempDir(), size+4096)
		return open(t, store.Config{Path: p, Offset: 1536, Length: size})
	})
}

func TestMemoryRoundsDown(t *testing.T) {
	if n, _ := store.Memory(1000).Size(); n != 512 {
		t.Errorf("memory of 1000 bytes serves %d, want 512", n)
	}
	if a, b := store.Memory(512).Info().Identity, store.Memory(512).Info().Identity; a == b {
		t.Errorf("two memories have the identity %q", a)
	}
}

// A window reads and writes its own bytes of the file and no others.
func TestWindowKeepsToItself(t *testing.T) {
	p := image(t, t.TempDir(), 8192)
	s := open(t, store.Config{Path: p, Offset: 1024, Length: 2048})
	if n, _ := s.Size(); n != 2048 {
		t.Fatalf("Size() = %d, want 2048", n)
	}
	if _, err := s.WriteAt(bytes.Repeat([]byte{7}, 2048), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt(make([]byte, 512), 2048); !errors.Is(err, store.ErrRange) {
		t.Errorf("writing behind the window: %v, want ErrRange", err)
	}
	want := make([]byte, 8192)
	copy(want[1024:], bytes.Repeat([]byte{7}, 2048))
	if got, _ := os.ReadFile(p); !bytes.Equal(got, want) {
		t.Error("the file has other bytes than the window's changed")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	p := image(t, dir, 4096)
	small := filepath.Join(dir, "small")
	os.WriteFile(small, make([]byte, 511), 0o600)
	for _, row := range []struct {
		name string
		cfg  store.Config
	}{
		{"a path that is not there", store.Config{Path: filepath.Join(dir, "none")}},
		{"a directory", store.Config{Path: dir}},
		{"a character device", store.Config{Path: os.DevNull}},
		{"an empty path", store.Config{}},
		{"less than a sector", store.Config{Path: small}},
		{"a negative offset", store.Config{Path: p, Offset: -512}},
		{"a negative length", store.Config{Path: p, Length: -512}},
		{"an offset between sectors", store.Config{Path: p, Offset: 100}},
		{"a length between sectors", store.Config{Path: p, Length: 100}},
		{"a window behind the end", store.Config{Path: p, Offset: 4096}},
		{"a window longer than the file", store.Config{Path: p, Offset: 512, Length: 4096}},
	} {
		if s, err := store.Open(row.cfg); err == nil {
			s.Close()
			t.Errorf("%s was opened", row.name)
		}
	}
	if _, err := store.Open(store.Config{Path: filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there: %v, want os.ErrNotExist", err)
	}
}

// A file whose size is not a multiple of a sector serves the whole sectors, and
// says how much it leaves out.
func TestTailIsToldAndNotServed(t *testing.T) {
	p := image(t, t.TempDir(), 4096+100)
	s := open(t, store.Config{Path: p})
	if n, _ := s.Size(); n != 4096 || s.Info().Tail != 100 {
		t.Errorf("size %d with a tail of %d, want 4096 and 100", n, s.Info().Tail)
	}
	if _, err := s.ReadAt(make([]byte, 512), 4096); !errors.Is(err, store.ErrRange) {
		t.Errorf("reading the tail: %v, want ErrRange", err)
	}
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	p := image(t, t.TempDir(), 4096)
	s := open(t, store.Config{Path: p, ReadOnly: true})
	if _, err := s.WriteAt(make([]byte, 512), 0); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("WriteAt: %v, want ErrReadOnly", err)
	}
	if err := s.Trim(0, 512); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Trim: %v, want ErrReadOnly", err)
	}
	if q, ok := s.(store.Prompt); ok {
		if err := q.WriteNow(make([]byte, 512), 0); err == nil {
			t.Error("WriteNow wrote to a read-only store")
		}
	}
	if i := s.Info(); !i.ReadOnly || i.Trim {
		t.Errorf("Info() = %+v, want read-only and no trim", i)
	}
	if _, err := s.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("ReadAt: %v", err)
	}
}

// TestH16SizeIsAskedAnew: a file that grows or shrinks while it is served is
// noticed by Size, and reading what is gone is an error and not old memory.
func TestH16SizeIsAskedAnew(t *testing.T) {
	p := image(t, t.TempDir(), 4096)
	s := open(t, store.Config{Path: p})
	buf := make([]byte, 512)

	os.Truncate(p, 8192)
	if _, err := s.ReadAt(buf, 4096); !errors.Is(err, store.ErrRange) {
		t.Errorf("before Size: %v, want ErrRange", err)
	}
	if n, err := s.Size(); n != 8192 || err != nil {
		t.Fatalf("grown: Size() = %d, %v", n, err)
	}
	if _, err := s.ReadAt(buf, 4096); err != nil {
		t.Errorf("after Size: %v", err)
	}

	os.Truncate(p, 1024)
	if _, err := s.ReadAt(buf, 4096); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading what was cut off: %v, want io.ErrUnexpectedEOF", err)
	}
	if q, ok := s.(store.Prompt); ok {
		if err := q.ReadNow(buf, 4096); err == nil {
			t.Error("ReadNow of what was cut off succeeded")
		}
	}
	if n, err := s.Size(); n != 1024 || err != nil {
		t.Fatalf("shrunk: Size() = %d, %v", n, err)
	}
	if _, err := s.ReadAt(buf, 4096); !errors.Is(err, store.ErrRange) {
		t.Errorf("after Size: %v, want ErrRange", err)
	}
}
