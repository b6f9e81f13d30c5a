package target_test

import (
	"path/filepath"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
)

// TestH17VerifierFollowsTheCache: a disk shows what its store keeps what was not
// synced in, in IDENTIFY, in answers to what may be forgotten, and in those to
// flushes. It stays the same when the target is started again and the cache is not
// its own.
func TestH17VerifierFollowsTheCache(t *testing.T) {
	open := func(cfg store.Config) func() store.Store {
		return func() store.Store {
			s, err := store.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	base, changes := image(t, 1<<20), filepath.Join(t.TempDir(), "changes")
	seen := map[frame.Verifier]string{}
	for _, row := range []struct {
		name string
		open func() store.Store
		same bool // after a restart
	}{
		{"a file", open(store.Config{Path: image(t, 1<<20)}), true},
		{"another", open(store.Config{Path: image(t, 1<<20)}), true},
		{"memory", func() store.Store { return store.Memory(1 << 20) }, false},
		{"a snapshot, whose bits are in memory", open(store.Config{Path: base, Snapshot: true, Changes: changes}), false},
	} {
		var before frame.Verifier
		for _, mode := range []target.Mode{target.ModeFlush, target.ModeSync} {
			r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: row.open(), Mode: mode})
			v := shown(t, r, mode)
			if other := seen[v]; other != "" {
				t.Errorf("%s shows what %s has shown", row.name, other)
			}
			if before != 0 && (v == before) != row.same {
				t.Errorf("%s shows %v, and %v after a restart", row.name, before, v)
			}
			before = v
			r.close()
		}
		seen[before] = row.name
	}
}

// shown is the verifier that a disk shows wherever it has to, and nowhere else.
func shown(t *testing.T, r *rig, mode target.Mode) frame.Verifier {
	t.Helper()
	id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))))
	if err != nil || id.Verifier == 0 {
		t.Fatalf("verifier %v, %v", id.Verifier, err)
	}
	forgets := frame.Verifier(0)
	if mode == target.ModeFlush {
		forgets = id.Verifier
	}
	for _, row := range []struct {
		f    []byte
		want frame.Verifier
	}{
		{r.write(e11, 8, sectors(8, 1)), forgets},
		{r.ata(e11, frame.OpWrite, 8, 1, sectors(1, 1)), forgets},
		{r.trim(e11, frame.TrimRange{LBA: 8, Sectors: 8}), forgets},
		{r.read(e11, 8, 8), 0},
		{r.ata(e11, frame.OpFlush, 0, 0, nil), id.Verifier},
		{r.ata(e11, frame.OpFlushExt, 0, 0, nil), id.Verifier},
	} {
		answer := r.ask(row.f)
		wantOK(t, answer)
		if a, _ := ataOf(t, answer); a.Verifier() != row.want {
			t.Errorf("mode %v: %s has verifier %v, want %v", mode, frame.Describe(answer), a.Verifier(), row.want)
		}
	}
	return id.Verifier
}
