package store_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// noise makes a file of size random bytes.
func noise(t *testing.T, size int64) (path string, content []byte) {
	t.Helper()
	path, content = filepath.Join(t.TempDir(), "base.img"), make([]byte, size)
	rng := rand.New(rand.NewPCG(7, 0))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// snapshot opens one on the file base. It is the caller's to close.
func snapshot(t *testing.T, base string, cfg store.SnapshotConfig) store.Store {
	t.Helper()
	var err error
	if cfg.Base, err = store.Open(store.Config{Path: base, ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Snapshot(cfg)
	if err != nil {
		cfg.Base.Close()
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, s store.Store, off, n int64) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := s.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSnapshotConforms(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(t *testing.T, size int64) store.Store
	}{
		{"private", func(t *testing.T, size int64) store.Store {
			return snapshot(t, image(t, t.TempDir(), size), store.SnapshotConfig{Dir: t.TempDir()})
		}},
		{"kept", func(t *testing.T, size int64) store.Store {
			return snapshot(t, image(t, t.TempDir(), size), store.SnapshotConfig{Path: filepath.Join(t.TempDir(), "changes")})
		}},
		{"on NBD", func(t *testing.T, size int64) store.Store {
			_, uri := newNBDServer(t, "unix", store.Memory(size))
			return snapshot(t, uri, store.SnapshotConfig{Dir: t.TempDir()})
		}},
	} {
		t.Run(row.name, func(t *testing.T) { storetest.Conform(t, row.make) })
	}
}

// Random writes and trims over a base that is not empty, across the edges of
// what one page of bits is for; kept, and opened again now and then. The base
// remains what it was.
func TestSnapshotAgreesWithAModel(t *testing.T) {
	const seed, size = 1, 4<<20 + 8192
	base, original := noise(t, size)
	changes := filepath.Join(t.TempDir(), "changes")
	model := bytes.Clone(original)
	s := snapshot(t, base, store.SnapshotConfig{Path: changes})
	identity := s.Info().Identity
	rng := rand.New(rand.NewPCG(seed, 0))
	for step := range 600 {
		n := (1 + rng.Int64N(200)) * 512
		off := rng.Int64N((size-n)/512+1) * 512
		if rng.IntN(3) == 0 { // around the edge of a page
			off = 2<<20 - n/1024*512
		}
		switch rng.IntN(5) {
		case 0, 1:
			p := bytes.Repeat([]byte{byte(step)}, int(n))
			if _, err := s.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			copy(model[off:], p)
		case 2:
			if err := s.Trim(off, n); err != nil {
				t.Fatal(err)
			}
			clear(model[off : off+n])
		}
		if step%150 == 149 {
			if err := errors.Join(s.Sync(), s.Close()); err != nil {
				t.Fatal(err)
			}
			s = snapshot(t, base, store.SnapshotConfig{Path: changes})
		}
		if !bytes.Equal(read(t, s, off, n), model[off:off+n]) {
			t.Fatalf("seed %d step %d: %d bytes at %d are not what was written", seed, step, n, off)
		}
	}
	if !bytes.Equal(read(t, s, 0, size), model) {
		t.Errorf("seed %d: the disk is not what was written", seed)
	}
	if got := s.Info().Identity; got != identity {
		t.Errorf("identity %q, was %q", got, identity)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(base); err != nil || !bytes.Equal(now, original) {
		t.Errorf("the base was written (%v)", err)
	}
}

// Of what was not synced, the bits are not in the file: a crash, which here is
// another look at the file while the first is not closed, leaves the base.
func TestSnapshotKeepsWhatWasSynced(t *testing.T) {
	base, original := noise(t, 64<<10)
	changes := filepath.Join(t.TempDir(), "changes")
	s := snapshot(t, base, store.SnapshotConfig{Path: changes})
	defer s.Close()
	synced, not := bytes.Repeat([]byte{1}, 4096), bytes.Repeat([]byte{2}, 4096)
	s.WriteAt(synced, 4096)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	s.WriteAt(not, 12288)
	found, err := os.ReadFile(changes)
	if err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(t.TempDir(), "after")
	if err := os.WriteFile(after, found, 0o600); err != nil {
		t.Fatal(err)
	}
	r := snapshot(t, base, store.SnapshotConfig{Path: after})
	defer r.Close()
	want := bytes.Clone(original)
	copy(want[4096:], synced)
	if !bytes.Equal(read(t, r, 0, 64<<10), want) {
		t.Error("not the base with what was synced on top")
	}
}

// Two snapshots of one base know nothing of each other, and leave nothing.
func TestSnapshotsArePrivate(t *testing.T) {
	base, original := noise(t, 64<<10)
	dir := t.TempDir()
	a, b := snapshot(t, base, store.SnapshotConfig{Dir: dir}), snapshot(t, base, store.SnapshotConfig{Dir: dir})
	a.WriteAt(bytes.Repeat([]byte{1}, 4096), 0)
	if !bytes.Equal(read(t, b, 0, 4096), original[:4096]) {
		t.Error("one snapshot has what was written to the other")
	}
	if x, y := a.Info(), b.Info(); x.Identity == y.Identity || !x.Volatile || x.ReadOnly {
		t.Errorf("%+v and %+v: want identities of their own, volatile, writable", x, y)
	}
	if _, err := store.Open(store.Config{Path: base}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("the base of a snapshot opened for writing: %v, want ErrLocked", err)
	}
	left, err := os.ReadDir(dir)
	if err := errors.Join(err, a.Close(), b.Close()); err != nil || len(left) != 0 {
		t.Errorf("%v, %d files", err, len(left))
	}
}

func TestSnapshotRefuses(t *testing.T) {
	base, _ := noise(t, 64<<10)
	other, _ := noise(t, 32<<10)
	dir := t.TempDir()
	changes, foreign := filepath.Join(dir, "changes"), filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, bytes.Repeat([]byte("no"), 50000), 0o600); err != nil {
		t.Fatal(err)
	}
	same := filepath.Join(dir, "same size")
	content, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(same, content, 0o600); err != nil {
		t.Fatal(err)
	}
	kept := snapshot(t, base, store.SnapshotConfig{Path: changes})
	for _, row := range []struct {
		name, base string
		cfg        store.SnapshotConfig
		writable   bool
		want       string
	}{
		{"a base open for writing", other, store.SnapshotConfig{}, true, "not opened read-only"},
		{"changes in use", base, store.SnapshotConfig{Path: changes}, false, "in use"},
		{"a file that is something else", base, store.SnapshotConfig{Path: foreign}, false, "another base"},
		{"no place for changes", base, store.SnapshotConfig{Path: filepath.Join(dir, "no", "where")}, false, "no such"},
		{"no place for a temporary file", base, store.SnapshotConfig{Dir: filepath.Join(dir, "no")}, false, "no such"},
	} {
		if row.cfg.Base, err = store.Open(store.Config{Path: row.base, ReadOnly: !row.writable}); err != nil {
			t.Fatal(err)
		}
		if s, err := store.Snapshot(row.cfg); err == nil {
			s.Close()
			t.Errorf("%s: was opened", row.name)
		} else if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q in it", row.name, err, row.want)
		}
		row.cfg.Base.Close()
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{other, same} { // another size, and another file
		under, err := store.Open(store.Config{Path: b, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := store.Snapshot(store.SnapshotConfig{Base: under, Path: changes}); err == nil {
			s.Close()
			t.Errorf("changes of %s continued on %s", base, b)
		}
		under.Close()
	}
}

// A base that has become shorter is an error where it is missing, and not zeros;
// what was written is still there.
func TestSnapshotOfAShortBase(t *testing.T) {
	base, _ := noise(t, 64<<10)
	s := snapshot(t, base, store.SnapshotConfig{Dir: t.TempDir()})
	defer s.Close()
	p := bytes.Repeat([]byte{1}, 4096)
	s.WriteAt(p, 60<<10)
	if err := os.Truncate(base, 32<<10); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadAt(make([]byte, 512), 40<<10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading what is missing: %v, want io.ErrUnexpectedEOF", err)
	}
	if !bytes.Equal(read(t, s, 60<<10, 4096), p) {
		t.Error("what was written is gone")
	}
	if _, err := s.WriteAt(p[:100], 0); err == nil {
		t.Error("a part of a sector was written")
	}
}

func TestOpenSnapshot(t *testing.T) {
	base, original := noise(t, 64<<10)
	changes := filepath.Join(t.TempDir(), "changes")
	for _, cfg := range []store.Config{
		{Path: base, Snapshot: true, ReadOnly: true},
		{Path: base, Changes: changes, Direct: true},
		{Path: base + "none", Snapshot: true},
		{Path: "mem:1M", Snapshot: true},
		{Path: base, Changes: t.TempDir()},
	} {
		if s, err := store.Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v was opened", cfg)
		}
	}
	p := bytes.Repeat([]byte{1}, 512)
	for _, row := range []struct {
		cfg  store.Config
		want []byte // what is found when it is opened a second time
	}{
		{store.Config{Path: base, Snapshot: true, Offset: 512, Length: 1024}, original[512:1024]},
		{store.Config{Path: base, Changes: changes, Offset: 512, Length: 1024}, p},
	} {
		for range 2 {
			s := open(t, row.cfg)
			if n, _ := s.Size(); n != 1024 {
				t.Fatalf("Size() = %d, want that of the window", n)
			}
			if _, err := s.WriteAt(p, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, s, 512, 512), original[1024:1536]) {
				t.Error("the second sector is not the base's")
			}
			if err := errors.Join(s.Sync(), s.Close()); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, row.cfg)
		if !bytes.Equal(read(t, s, 0, 512), row.want) {
			t.Errorf("%+v: the first sector is not what was left", row.cfg)
		}
	}
}
