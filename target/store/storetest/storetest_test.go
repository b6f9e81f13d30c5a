package storetest_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// The fakes pass the suite that the real ones pass.
func TestFakesConform(t *testing.T) {
	t.Run("fault", func(t *testing.T) {
		storetest.Conform(t, func(t *testing.T, size int64) store.Store {
			return storetest.NewFault(store.Memory(size), storetest.FaultConfig{Prompt: 1})
		})
	})
	t.Run("fault that waits", func(t *testing.T) {
		storetest.Conform(t, func(t *testing.T, size int64) store.Store {
			return storetest.NewFault(store.Memory(size), storetest.FaultConfig{})
		})
	})
	t.Run("crash", func(t *testing.T) {
		storetest.Conform(t, func(t *testing.T, size int64) store.Store { return storetest.NewCrash(size) })
	})
}

// The same seed fails the same calls.
func TestFaultReplays(t *testing.T) {
	run := func(seed uint64) (outcome []bool) {
		f := storetest.NewFault(store.Memory(1<<16), storetest.FaultConfig{
			Seed: seed, Fail: [4]float64{.3, .3, .3, .3}, Short: .3, Prompt: .5,
		})
		p := make([]byte, 1024)
		for range 100 {
			_, e1 := f.ReadAt(p, 0)
			_, e2 := f.WriteAt(p, 0)
			outcome = append(outcome, e1 == nil, e2 == nil, f.Sync() == nil, f.Trim(0, 512) == nil, f.ReadNow(p, 0) == nil)
		}
		return outcome
	}
	a, b, c := run(7), run(7), run(8)
	same := func(x, y []bool) bool {
		for i := range x {
			if x[i] != y[i] {
				return false
			}
		}
		return true
	}
	if !same(a, b) {
		t.Error("seed 7 did not replay")
	}
	if same(a, c) {
		t.Error("seeds 7 and 8 do the same: chance is not seeded")
	}
}

// A write that fails half-way has written whole sectors from the front.
func TestFaultWritesShort(t *testing.T) {
	under := store.Memory(1 << 16)
	f := storetest.NewFault(under, storetest.FaultConfig{Seed: 3, Short: 1})
	p := bytes.Repeat([]byte{1}, 8*512)
	seen := map[int]bool{}
	got := make([]byte, len(p))
	for range 200 {
		under.Trim(0, 8*512)
		if _, err := f.WriteAt(p, 0); !errors.Is(err, storetest.ErrInjected) {
			t.Fatalf("WriteAt: %v, want the injected failure", err)
		}
		under.ReadAt(got, 0)
		n := bytes.Count(got, []byte{1})
		if n%512 != 0 || !bytes.Equal(got[:n], p[:n]) {
			t.Fatalf("%d bytes written, not whole sectors from the front", n)
		}
		seen[n/512] = true
	}
	if len(seen) != 9 {
		t.Errorf("short writes of %d different lengths, want 9: 0 to 8 sectors", len(seen))
	}
}

func TestFaultHookBlocksAndFails(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan storetest.Call, 1)
	f := storetest.NewFault(store.Memory(1<<16), storetest.FaultConfig{Hook: func(c storetest.Call) error {
		entered <- c
		<-release
		return storetest.ErrInjected
	}})
	done := make(chan error)
	go func() { _, err := f.WriteAt(make([]byte, 512), 1024); done <- err }()
	if c := <-entered; c != (storetest.Call{Op: storetest.Write, Off: 1024, Len: 512}) {
		t.Errorf("the hook saw %+v", c)
	}
	close(release)
	if err := <-done; !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("WriteAt: %v, want the hook's error", err)
	}
}

// What was synced is there after a crash; of the rest, some is and some is not.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	c := storetest.NewCrash(64 * 512)
	old := bytes.Repeat([]byte{1}, 64*512)
	c.WriteAt(old, 0)
	c.Sync()
	c.WriteAt(bytes.Repeat([]byte{2}, 32*512), 0)
	got := make([]byte, 64*512)
	c.Crash(rng).ReadAt(got, 0)
	kept := bytes.Count(got[:32*512], []byte{2})
	if kept == 0 || kept == 32*512 || kept%512 != 0 {
		t.Errorf("%d bytes of an unsynced write survived: want some whole sectors, not all", kept)
	}
	if !bytes.Equal(got[32*512:], old[32*512:]) {
		t.Error("synced data was lost")
	}
}
