package lab

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A memDisk is a disk that can be made to lie.
type memDisk struct {
	mu     sync.Mutex
	b      []byte
	writes int
	lie    func(d *memDisk, p []byte, off int64) bool // true: swallow the write
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.b[off:]), nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.lie != nil && d.lie(d, p, off) {
		return len(p), nil
	}
	return copy(d.b[off:], p), nil
}

// TestModelCatchesLyingDisks: each way in which a disk can be wrong is found,
// and called what it is.
func TestModelCatchesLyingDisks(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, row := range []struct {
		name string
		lie  func(d *memDisk, p []byte, off int64) bool
		want string
	}{
		{"honest", nil, ""},
		{"swallows a write", func(d *memDisk, p []byte, off int64) bool { return d.writes >= 100 }, ""},
		{"one bit", func(d *memDisk, p []byte, off int64) bool {
			if d.writes >= 100 {
				copy(d.b[off:], p)
				d.b[off+3000] ^= 0x10
				return true
			}
			return false
		}, "differs from byte 3000"},
		{"one block too far", func(d *memDisk, p []byte, off int64) bool {
			if d.writes >= 100 && off+int64(len(p))+modelBlock <= int64(len(d.b)) {
				copy(d.b[off+modelBlock:], p)
				return true
			}
			return false
		}, ""},
		{"writes zeros", func(d *memDisk, p []byte, off int64) bool {
			if d.writes >= 100 {
				clear(d.b[off:][:len(p)])
				return true
			}
			return false
		}, "holds zeros"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := &memDisk{b: make([]byte, 1<<20), lie: row.lie}
			got, err := CheckModel(t.Context(), ModelConfig{Disk: d, SizeBytes: int64(len(d.b)), Seed: seed, Workers: 4}, 200)
			if row.lie == nil {
				if err != nil {
					t.Fatal(err)
				}
				if got.Reads+got.Writes < 4*200 || got.Bytes < int64(len(d.b)) {
					t.Errorf("an honest disk moved only %+v", got)
				}
				return
			}
			if !errors.Is(err, errCorrupt) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v; want a difference that %q", err, row.want)
			}
		})
	}
}

// TestBlockSaysWhatItHolds: the description in an error tells stale from
// misplaced.
func TestBlockSaysWhatItHolds(t *testing.T) {
	var p [modelBlock]byte
	for _, row := range []struct {
		name           string
		block, version uint64
		want           string
	}{
		{"as it should be", 7, 3, ""},
		{"stale", 7, 2, "holds version 2: a stale"},
		{"misplaced", 9, 3, "holds block 9, version 3: misplaced"},
		{"from the future", 7, 4, "differs from byte 8"},
	} {
		fillBlock(p[:], 1, int64(row.block), uint32(row.version))
		err := checkBlock(p[:], 1, 7, 3)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v; want %q", row.name, err, row.want)
		}
	}
	if err := checkBlock(p[:], 1, 7, 0); err != nil {
		t.Errorf("a block that was never written is judged: %v", err)
	}
}

type brokenDisk struct{ memDisk }

func (*brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestModelTellsOfIOErrorsAndInterruption(t *testing.T) {
	d := &brokenDisk{memDisk{b: make([]byte, 1<<20)}}
	cfg := ModelConfig{Disk: d, SizeBytes: 1 << 20, Seed: 1}
	if _, err := CheckModel(t.Context(), cfg, 50); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a read error becomes %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CheckModel(ctx, cfg, 50); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	cfg.SizeBytes = modelBlock
	if _, err := CheckModel(t.Context(), cfg, 1); err == nil {
		t.Error("a disk of one block for 8 workers is accepted")
	}
}

// TestModelReplays: one seed, one history.
func TestModelReplays(t *testing.T) {
	var want ModelResult
	for i := range 2 {
		d := &memDisk{b: make([]byte, 1<<20)}
		got, err := CheckModel(t.Context(), ModelConfig{Disk: d, SizeBytes: 1 << 20, Seed: 42}, 50)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = got
		} else if got != want {
			t.Errorf("the second run with one seed did %+v, the first %+v", got, want)
		}
	}
}
