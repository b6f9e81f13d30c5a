package storetest_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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

// What was synced is there after the power has failed; of the rest, some is and
// some is not, also of the same sector written twice.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	c := storetest.NewCrash(64 * 512)
	old := bytes.Repeat([]byte{1}, 64*512)
	must(t, c.WriteAt, old)
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	must(t, c.WriteAt, bytes.Repeat([]byte{2}, 32*512))
	must(t, c.WriteAt, bytes.Repeat([]byte{3}, 32*512))
	got := make([]byte, 64*512)
	must(t, c.Restart(rng).ReadAt, got)
	for _, b := range []byte{1, 2, 3} {
		if n := bytes.Count(got[:32*512], []byte{b}); n == 0 || n%512 != 0 {
			t.Errorf("%d bytes are %d: want whole sectors of each write, and of what was before", n, b)
		}
	}
	if !bytes.Equal(got[32*512:], old[32*512:]) {
		t.Error("synced data was lost")
	}
	if _, err := c.ReadAt(got, 0); !errors.Is(err, storetest.ErrPower) {
		t.Errorf("the old store still works: %v", err)
	}
}

func must(t *testing.T, do func([]byte, int64) (int, error), p []byte) {
	t.Helper()
	if n, err := do(p, 0); n != len(p) || err != nil {
		t.Fatalf("%d of %d bytes, %v", n, len(p), err)
	}
}

// The power fails in the middle of the call that was named, and the same seed
// tears it in the same way.
func TestCrashTearsTheLastCall(t *testing.T) {
	for _, op := range []string{"write", "trim", "sync"} {
		var runs [2][]byte
		for i := range runs {
			c := storetest.NewCrash(64 * 512)
			must(t, c.WriteAt, bytes.Repeat([]byte{1}, 64*512))
			if err := c.Sync(); err != nil {
				t.Fatal(err)
			}
			if op == "sync" {
				must(t, c.WriteAt, make([]byte, 64*512))
			}
			rng := rand.New(rand.NewPCG(5, 0))
			c.FailAfter(5, 1)
			must(t, c.ReadAt, make([]byte, 512))
			var err error
			switch op {
			case "write":
				_, err = c.WriteAt(make([]byte, 64*512), 0)
			case "trim":
				err = c.Trim(0, 64*512)
			case "sync":
				err = c.Sync()
			}
			<-c.Down()
			if !errors.Is(err, storetest.ErrPower) {
				t.Errorf("%s: %v, want ErrPower", op, err)
			}
			runs[i] = make([]byte, 64*512)
			must(t, c.Restart(rng).ReadAt, runs[i])
		}
		if n := bytes.Count(runs[0], []byte{0}); n == 0 || n == 64*512 || n%512 != 0 {
			t.Errorf("%s: %d bytes of it were done: want some whole sectors, not all", op, n)
		}
		if !bytes.Equal(runs[0], runs[1]) {
			t.Errorf("%s: the same seed tore it in another way", op)
		}
	}
}

// Latency passes on the clock that was given, and is drawn from the seed.
func TestFaultTakesItsTime(t *testing.T) {
	run := func() (passed []time.Duration) {
		f := storetest.NewFault(store.Memory(1<<16), storetest.FaultConfig{
			Seed: 2, Prompt: 1,
			Latency: func(c storetest.Call, rng *rand.Rand) time.Duration {
				return time.Duration(c.Op+1)*time.Hour + time.Duration(rng.IntN(1000))
			},
			Sleep: func(d time.Duration) { passed = append(passed, d) },
		})
		must(t, f.WriteAt, make([]byte, 512))
		must(t, f.ReadAt, make([]byte, 512))
		if err := errors.Join(f.Sync(), f.Trim(0, 512), f.ReadNow(make([]byte, 512), 0)); err != nil {
			t.Fatal(err)
		}
		return passed
	}
	first := run()
	if len(first) != 4 || first[0] < 2*time.Hour || first[1] >= 2*time.Hour || first[2] < 3*time.Hour {
		t.Errorf("calls took %v", first)
	}
	if again := run(); !slices.Equal(first, again) {
		t.Errorf("the same seed took %v and then %v", first, again)
	}
}
