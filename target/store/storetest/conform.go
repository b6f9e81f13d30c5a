package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"aoe/target/store"
)

// Conform runs the suite on stores that open makes: of size bytes, all zeros,
// writable, each used by one test and closed by it.
func Conform(t *testing.T, open func(t *testing.T, size int64) store.Store) {
	const size = 1 << 20
	for _, row := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"Describes", describes},
		{"RefusesWhatIsBeyondTheEnd", refusesBeyondEnd},
		{"AgreesWithAModel", agreesWithModel},
		{"TrimsOnlyWhatItIsTold", trims},
		{"ServesManyAtOnce", servesMany},
		{"AnswersPromptlyTheSame", answersPromptly},
		{"GathersTheSame", gathers},
		{"AllocatesNothing", allocatesNothing},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, size)
			if n, err := s.Size(); err != nil || n != size {
				t.Fatalf("Size() = %d, %v, want %d", n, err, size)
			}
			row.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func describes(t *testing.T, s store.Store) {
	i := s.Info()
	if p := i.PhysicalBlock; p < store.SectorSize || p&(p-1) != 0 {
		t.Errorf("PhysicalBlock is %d: want a power of two from %d up", p, store.SectorSize)
	}
	if i.Name == "" || i.ReadOnly || i.Tail != 0 {
		t.Errorf("Info() = %+v, want a name, writable, and no tail", i)
	}
	if again := s.Info(); again != i {
		t.Errorf("Info() changed from %+v to %+v", i, again)
	}
}

func refusesBeyondEnd(t *testing.T, s store.Store) {
	size, _ := s.Size()
	p := make([]byte, 1024)
	for _, off := range []int64{-1, -512, size - 512, size, size + 1, math.MaxInt64, math.MinInt64} {
		if _, err := s.ReadAt(p, off); !errors.Is(err, store.ErrRange) {
			t.Errorf("ReadAt(1024 bytes, %d) of %d: %v, want ErrRange", off, size, err)
		}
		if _, err := s.WriteAt(p, off); !errors.Is(err, store.ErrRange) {
			t.Errorf("WriteAt(1024 bytes, %d) of %d: %v, want ErrRange", off, size, err)
		}
		if err := s.Trim(off, 1024); !errors.Is(err, store.ErrRange) {
			t.Errorf("Trim(%d, 1024) of %d: %v, want ErrRange", off, size, err)
		}
	}
	if err := s.Trim(512, math.MaxInt64); !errors.Is(err, store.ErrRange) {
		t.Errorf("Trim(512, max): %v, want ErrRange", err)
	}
	if err := s.Trim(512, -1); !errors.Is(err, store.ErrRange) {
		t.Errorf("Trim(512, -1): %v, want ErrRange", err)
	}
	// The boundary itself is inside: the last byte is usable.
	if n, err := s.WriteAt(p, size-1024); n != 1024 || err != nil {
		t.Errorf("writing the last two sectors: %d, %v", n, err)
	}
	if n, err := s.ReadAt(p, size-1024); n != 1024 || err != nil {
		t.Errorf("reading the last two sectors: %d, %v", n, err)
	}
}

// agreesWithModel does random things to the store and to a slice.
func agreesWithModel(t *testing.T, s store.Store) {
	size, _ := s.Size()
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	model := make([]byte, size)
	p := make([]byte, 64*store.SectorSize)
	for step := range 1000 {
		n := (1 + rng.Int64N(64)) * store.SectorSize
		off := rng.Int64N((size-n)/store.SectorSize+1) * store.SectorSize
		switch rng.IntN(8) {
		case 0, 1, 2:
			fill(rng, p[:n])
			if got, err := s.WriteAt(p[:n], off); got != int(n) || err != nil {
				t.Fatalf("seed %d step %d: WriteAt(%d bytes, %d) = %d, %v", seed, step, n, off, got, err)
			}
			copy(model[off:], p[:n])
		case 3:
			if err := s.Sync(); err != nil {
				t.Fatalf("seed %d step %d: Sync: %v", seed, step, err)
			}
		default:
			if got, err := s.ReadAt(p[:n], off); got != int(n) || err != nil {
				t.Fatalf("seed %d step %d: ReadAt(%d bytes, %d) = %d, %v", seed, step, n, off, got, err)
			}
			if !bytes.Equal(p[:n], model[off:off+n]) {
				t.Fatalf("seed %d step %d: ReadAt(%d bytes, %d) is not what was written", seed, step, n, off)
			}
		}
	}
}

func fill(rng *rand.Rand, p []byte) {
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
}

// trims checks that a trimmed range reads as zeros or, unless zeros are
// promised, as before, and that its neighbours are untouched.
func trims(t *testing.T, s store.Store) {
	size, _ := s.Size()
	promised := s.Info().TrimZeroes
	full := bytes.Repeat([]byte{0x5a}, int(size))
	if _, err := s.WriteAt(full, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{512, 512}, {4096, 8192}, {65536 - 512, 65536 + 1024}, {size - 512, 512}, {8192, 0}} {
		if err := s.Trim(r[0], r[1]); err != nil {
			t.Fatalf("Trim(%d, %d): %v", r[0], r[1], err)
		}
		clear(full[r[0] : r[0]+r[1]])
	}
	got := make([]byte, size)
	if _, err := s.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != full[i] && (promised || full[i] != 0 || got[i] != 0x5a) {
			t.Fatalf("byte %d is %#x after trims, want %#x", i, got[i], full[i])
		}
	}
}

// servesMany has goroutines that each use a part of their own.
func servesMany(t *testing.T, s store.Store) {
	size, _ := s.Size()
	const users = 8
	part := size / users
	var wg sync.WaitGroup
	for u := range int64(users) {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(u + 1)}, 4096)
			got := make([]byte, 4096)
			for off := u * part; off < (u+1)*part; off += 4096 {
				if _, err := s.WriteAt(want, off); err != nil {
					t.Errorf("WriteAt: %v", err)
				}
				if off%(64<<10) == 0 {
					if err := s.Sync(); err != nil {
						t.Errorf("Sync: %v", err)
					}
				}
				if _, err := s.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
					t.Errorf("user %d reads another's data at %d (%v)", u, off, err)
				}
			}
		})
	}
	wg.Wait()
}

// answersPromptly checks that the methods which do not wait do the same as
// those that do, if they do anything.
func answersPromptly(t *testing.T, s store.Store) {
	q, ok := s.(store.Prompt)
	if !ok {
		t.Log("not Prompt")
		return
	}
	size, _ := s.Size()
	want := bytes.Repeat([]byte{0xc3}, 4096)
	got := make([]byte, 4096)
	if err := q.WriteNow(want, 8192); errors.Is(err, store.ErrWouldBlock) {
		_, err = s.WriteAt(want, 8192)
		if err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatalf("WriteNow: %v", err)
	}
	if err := q.ReadNow(got, 8192); err == nil && !bytes.Equal(got, want) {
		t.Error("ReadNow read something else than was written")
	} else if err != nil && !errors.Is(err, store.ErrWouldBlock) {
		t.Errorf("ReadNow: %v", err)
	}
	if err := q.SyncNow(); err != nil && !errors.Is(err, store.ErrWouldBlock) {
		t.Errorf("SyncNow: %v", err)
	}
	for _, err := range []error{q.ReadNow(got, size-512), q.WriteNow(got, size-512)} {
		if !errors.Is(err, store.ErrRange) && !errors.Is(err, store.ErrWouldBlock) {
			t.Errorf("beyond the end: %v, want ErrRange", err)
		}
	}
}

// gathers checks that what is done with one call is the same as done one by one.
func gathers(t *testing.T, s store.Store) {
	g, ok := s.(store.Gatherer)
	if !ok {
		t.Log("not Gatherer")
		return
	}
	size, _ := s.Size()
	rng := rand.New(rand.NewPCG(4, 0))
	for n := 1; n <= store.MaxGather; n++ {
		bufs, want := make([][]byte, n), []byte(nil)
		for i := range bufs {
			bufs[i] = make([]byte, (1+rng.Int64N(16))*store.SectorSize)
			fill(rng, bufs[i])
			want = append(want, bufs[i]...)
		}
		off := rng.Int64N((size-int64(len(want)))/store.SectorSize+1) * store.SectorSize
		write := g.WriteAll
		if n%2 == 0 {
			write = g.WriteAllNow
		}
		err := write(bufs, off)
		if errors.Is(err, store.ErrWouldBlock) {
			_, err = s.WriteAt(want, off)
		}
		if err != nil {
			t.Fatalf("writing %d buffers: %v", n, err)
		}
		got := make([]byte, len(want))
		if _, err := s.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d buffers at %d: something else was written (%v)", n, off, err)
		}
		for i := range bufs {
			clear(bufs[i])
		}
		err = g.ReadAllNow(bufs, off)
		if errors.Is(err, store.ErrWouldBlock) {
			continue
		}
		if err != nil || !bytes.Equal(bytes.Join(bufs, nil), want) {
			t.Fatalf("%d buffers at %d: something else was read (%v)", n, off, err)
		}
	}
	over := [][]byte{make([]byte, 512), make([]byte, 512)}
	for _, f := range []func([][]byte, int64) error{g.ReadAllNow, g.WriteAllNow, g.WriteAll} {
		if err := f(over, size-512); !errors.Is(err, store.ErrRange) && !errors.Is(err, store.ErrWouldBlock) {
			t.Errorf("beyond the end: %v, want ErrRange", err)
		}
	}
}

func allocatesNothing(t *testing.T, s store.Store) {
	size, _ := s.Size()
	p := make([]byte, 4096)
	if _, err := s.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	q, prompt := s.(store.Prompt)
	g, gatherer := s.(store.Gatherer)
	two := [][]byte{p[:2048], p[2048:]}
	n := testing.AllocsPerRun(100, func() {
		s.WriteAt(p, 0)
		s.ReadAt(p, 0)
		s.ReadAt(p, size) // refused
		if prompt {
			q.WriteNow(p, 0)
			q.ReadNow(p, 0)
			q.SyncNow()
		}
		if gatherer {
			g.WriteAll(two, 0)
			g.WriteAllNow(two, 0)
			g.ReadAllNow(two, 0)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for reads and writes, want 0", n)
	}
}
