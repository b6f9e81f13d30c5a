package store_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// waits is a store that always has to wait.
type waits struct{ store.Store }

func (waits) ReadNow([]byte, int64) error  { return store.ErrWouldBlock }
func (waits) WriteNow([]byte, int64) error { return store.ErrWouldBlock }
func (waits) SyncNow() error               { return store.ErrWouldBlock }

// The power fails anywhere, also in the middle of a sync. What was synced is
// there afterwards; of the rest, each sector is what it was before, or what was
// written, or the base: nothing that was never there.
func TestSnapshotSurvivesCrashes(t *testing.T) {
	const size, sectors = 64 << 10, 128
	base, original := noise(t, size)
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		under := open(t, store.Config{Path: base, ReadOnly: true})
		var disk *storetest.Crash
		on := func(d *storetest.Crash) store.Store {
			s, err := store.SnapshotOn(under, func(n int64) store.Prompt {
				if disk = d; d == nil {
					disk = storetest.NewCrash(n)
				}
				return waits{disk}
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return s
		}
		s := on(nil)
		disk.FailAfter(seed, rng.IntN(60))
		var may [sectors]map[byte]bool // what each sector may be filled with; nil: the base
		var last [sectors]byte
		for v, err := byte(1), error(nil); err == nil; v++ {
			at := rng.IntN(sectors)
			if may[at] == nil {
				may[at] = map[byte]bool{0: true} // 0 stands for the base
			}
			may[at][v] = true
			if _, err = s.WriteAt(bytes.Repeat([]byte{v}, 512), int64(at)*512); err != nil {
				break
			}
			if last[at] = v; rng.IntN(4) != 0 {
				continue
			}
			if err = s.Sync(); err != nil {
				break
			}
			for i := range may {
				if may[i] != nil {
					may[i] = map[byte]bool{last[i]: true}
				}
			}
		}
		s = on(disk.Restart(rng))
		for i := range may {
			got := read(t, s, int64(i)*512, 512)
			isBase := bytes.Equal(got, original[i*512:(i+1)*512])
			written := got[0] != 0 && may[i][got[0]] && bytes.Equal(got, bytes.Repeat(got[:1], 512))
			if written || isBase && (may[i] == nil || may[i][0]) {
				continue
			}
			t.Fatalf("seed %d: sector %d is neither the base nor one of %v", seed, i, may[i])
		}
	}
}
