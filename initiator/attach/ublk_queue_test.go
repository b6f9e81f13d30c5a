package attach_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// ublkBed is a queue between a driver and a disk in memory.
func ublkBed(t *testing.T, depth int, cfg attachtest.Config) (*attach.UblkDriver, attach.UblkQueue, *attachtest.Memory) {
	t.Helper()
	m := attachtest.New(cfg)
	k := attach.NewUblkDriver(depth)
	q := attach.ServeUblk(k, m, nil)
	t.Cleanup(func() {
		k.Stop()
		m.Resume()
		select {
		case <-q.Done():
		case <-time.After(10 * time.Second):
			t.Error("the queue has not ended")
		}
		m.Close()
		if n := m.Admitted(); n != 0 {
			t.Errorf("%d requests were not released", n)
		}
	})
	return k, q, m
}

const eio, eperm, eopnotsupp = -5, -1, -95

// TestUblkRequests: each kind of request does to the disk what the block layer
// means by it, and says how it went.
func TestUblkRequests(t *testing.T) {
	k, q, m := ublkBed(t, 4, attachtest.Config{Size: 1 << 20, Poison: true, Info: attach.Info{Trim: true, TrimZeroes: true, WriteCache: true}})
	want := make([]byte, 64<<10)
	fill(want, 7)
	if n := k.Do(attach.UblkOpWrite, 0, 8, 128, want); n != 64<<10 {
		t.Fatalf("write: %d", n)
	}
	if !bytes.Equal(m.Content()[4096:][:len(want)], want) {
		t.Error("the disk has something else than was written")
	}
	got := make([]byte, len(want))
	if n := k.Do(attach.UblkOpRead, 0, 8, 128, got); int(n) != len(got) || !bytes.Equal(got, want) {
		t.Errorf("read: %d, equal %v", n, bytes.Equal(got, want))
	}
	if n := k.Do(attach.UblkOpWrite, attach.UblkFUA, 8, 8, want[:4096]); n != 4096 || m.Completed(attach.Flush) != 1 {
		t.Errorf("write with FUA: %d, %d flushes", n, m.Completed(attach.Flush))
	}
	if n := k.Do(attach.UblkOpFlush, 0, 0, 0, nil); n != 0 || m.Completed(attach.Flush) != 2 {
		t.Errorf("flush: %d, %d flushes", n, m.Completed(attach.Flush))
	}
	if n := k.Do(attach.UblkOpDiscard, 0, 8, 16, nil); n != 0 || m.Completed(attach.Trim) != 1 {
		t.Errorf("discard: %d, %d trims", n, m.Completed(attach.Trim))
	}
	if n := k.Do(attach.UblkOpWriteZeroes, attach.UblkNoUnmap, 24, 8, nil); n != 0 || m.Completed(attach.Trim) != 1 {
		t.Errorf("zeroes that are to be written: %d, %d trims", n, m.Completed(attach.Trim))
	}
	if n := k.Do(attach.UblkOpWriteZeroes, 0, 32, 8, nil); n != 0 || m.Completed(attach.Trim) != 2 {
		t.Errorf("zeroes that may be trimmed: %d, %d trims", n, m.Completed(attach.Trim))
	}
	clear(want[:16<<10]) // sectors 8 to 40
	if !bytes.Equal(m.Content()[4096:][:len(want)], want) {
		t.Error("what is left of the data is not what should be")
	}
	s := q.Stats()
	if want := (attach.UBLKStats{Reads: 1, Writes: 2, Flushes: 1, Trims: 1, Zeroes: 2, Copies: 3, Copied: 128<<10 + 4096, Wakes: s.Wakes}); s != want {
		t.Errorf("counted %+v, want %+v", s, want)
	}
}

// TestUblkZeroesInParts: a range that is longer than the disk admits is done
// part by part, every byte of it.
func TestUblkZeroesInParts(t *testing.T) {
	k, _, m := ublkBed(t, 2, attachtest.Config{Size: 1 << 20, Info: attach.Info{MaxRequest: 64 << 10}})
	data := make([]byte, 64<<10)
	fill(data, 3)
	for s := uint64(0); s < 2048; s += 128 {
		if n := k.Do(attach.UblkOpWrite, 0, s, 128, data); n < 0 {
			t.Fatal(n)
		}
	}
	before := m.Completed(attach.Write)
	if n := k.Do(attach.UblkOpWriteZeroes, 0, 1, 1000, nil); n != 0 {
		t.Fatalf("zeroes: %d", n)
	}
	if n := m.Completed(attach.Write) - before; n != 8 {
		t.Errorf("1000 sectors were %d writes of at most 128, want 8", n)
	}
	if got := m.Content(); !bytes.Equal(got[512:1001*512], make([]byte, 512000)) || got[511] == 0 || got[1001*512] == 0 {
		t.Error("zeroed too little or too much")
	}
}

// TestUblkRefuses: what the disk does not do, and what lies beyond it.
func TestUblkRefuses(t *testing.T) {
	fault := errors.New("bad sector")
	broken := func(op attach.Op) error {
		if op.Offset == 8192 {
			return fault
		}
		return nil
	}
	k, q, _ := ublkBed(t, 2, attachtest.Config{Size: 1 << 20, Fault: broken})
	ro, _, _ := ublkBed(t, 2, attachtest.Config{Size: 1 << 20, Info: attach.Info{ReadOnly: true, Trim: true}})
	b := make([]byte, 4096)
	for _, row := range []struct {
		name  string
		k     *attach.UblkDriver
		op    uint8
		start uint64
		want  int32
	}{
		{"read at the end", k, attach.UblkOpRead, 2040, 4096},
		{"read across the end", k, attach.UblkOpRead, 2041, eio},
		{"read far beyond", k, attach.UblkOpRead, 1 << 62, eio},
		{"write beyond", k, attach.UblkOpWrite, 2048, eio},
		{"read where the disk fails", k, attach.UblkOpRead, 16, eio},
		{"write where the disk fails", k, attach.UblkOpWrite, 16, eio},
		{"discard", k, attach.UblkOpDiscard, 0, eopnotsupp},
		{"a zone command", k, 13, 0, eopnotsupp},
		{"write to a read-only disk", ro, attach.UblkOpWrite, 0, eperm},
		{"discard of a read-only disk", ro, attach.UblkOpDiscard, 0, eperm},
		{"read of a read-only disk", ro, attach.UblkOpRead, 0, 4096},
	} {
		if got := row.k.Do(row.op, 0, row.start, 8, b); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
	if n := q.Stats().Errors; n != 7 {
		t.Errorf("%d errors counted, want 7", n)
	}
}

// TestUblkNobodyWaitsInTheThread: with a disk that admits two requests, eight
// are accepted; six wait in their slots, and all end well.
func TestUblkNobodyWaitsInTheThread(t *testing.T) {
	k, q, m := ublkBed(t, 8, attachtest.Config{Size: 1 << 20, Requests: 2})
	m.Hold()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			b := make([]byte, 4096)
			if n := k.Do(attach.UblkOpWrite, 0, uint64(8*i), 8, b); n != 4096 {
				t.Errorf("write %d: %d", i, n)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); q.Stats().Starved < 6; {
		if time.Now().After(deadline) {
			t.Fatalf("%+v: the thread waits for something", q.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	m.Resume()
	wg.Wait()
	if m.Peak() != 2 {
		t.Errorf("%d requests were in flight, the disk admits 2", m.Peak())
	}
}

// TestUblkStress: requests of many kinds and lengths from many sides, on a disk
// that is short of memory and completes out of order.
func TestUblkStress(t *testing.T) {
	t.Run("on the disk's loop", func(t *testing.T) { ublkStress(t, false) })
	t.Run("on a thread of its own", func(t *testing.T) { ublkStress(t, true) })
}

func ublkStress(t *testing.T, alone bool) {
	k, q, _ := ublkBed(t, 16, attachtest.Config{Size: 4 << 20, Requests: 5, Shuffle: true, Poison: true, Alone: alone,
		Info: attach.Info{Trim: true, TrimZeroes: true, WriteCache: true, MaxRequest: 32 << 10}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			mine := make([]byte, 512<<10) // what this worker's part of the disk holds
			base := uint64(w) * 1024
			b := make([]byte, 32<<10)
			for range 300 {
				n := 1 + rng.Uint32N(64)
				at := rng.Uint64N(1024 - uint64(n))
				part, data := mine[at*512:][:n*512], b[:n*512]
				switch rng.IntN(5) {
				case 0, 1:
					fill(data, byte(rng.Uint32()))
					copy(part, data)
					if got := k.Do(attach.UblkOpWrite, attach.UblkFUA*rng.Uint32N(2), base+at, n, data); got != int32(n*512) {
						t.Errorf("write: %d", got)
					}
				case 2, 3:
					if got := k.Do(attach.UblkOpRead, 0, base+at, n, data); got != int32(n*512) || !bytes.Equal(data, part) {
						t.Errorf("worker %d read other data than it wrote at %d", w, at)
					}
				default:
					clear(part)
					if got := k.Do(attach.UblkOpWriteZeroes, attach.UblkNoUnmap*rng.Uint32N(2), base+at, n, nil); got != 0 {
						t.Errorf("zeroes: %d", got)
					}
				}
			}
		})
	}
	wg.Wait()
	if s := q.Stats(); s.Starved == 0 || s.Errors != 0 {
		t.Errorf("%+v: it was never short, or failed", s)
	}
}

// TestUblkGiveUp: a disk that never answers; those who wait are told, what comes
// then fails at once, and what the disk answers later is only given back.
func TestUblkGiveUp(t *testing.T) {
	k, q, m := ublkBed(t, 4, attachtest.Config{Size: 1 << 20, Requests: 2})
	m.Hold()
	results := make(chan int32, 4)
	for i := range 4 {
		go func() { results <- k.Do(attach.UblkOpRead, 0, uint64(8*i), 8, make([]byte, 4096)) }()
	}
	for deadline := time.Now().Add(10 * time.Second); q.Stats().Starved < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", q.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	q.GiveUp()
	for range 4 {
		if n := <-results; n != eio {
			t.Errorf("result %d", n)
		}
	}
	if n := k.Do(attach.UblkOpWrite, 0, 0, 8, make([]byte, 4096)); n != eio {
		t.Errorf("a write after it was given up: %d", n)
	}
	m.Resume()
}

// TestUblkEndsWithTheDriver: a tag that is refused ends the queue with an
// error, and what the disk has then comes home by itself.
func TestUblkEndsWithTheDriver(t *testing.T) {
	m := attachtest.New(attachtest.Config{Size: 1 << 20})
	defer m.Close()
	k := attach.NewUblkDriver(2)
	q := attach.ServeUblk(k, m, nil)
	m.Hold()
	go k.Do(attach.UblkOpRead, 0, 0, 8, make([]byte, 4096)) // its tag ends with the process
	if !m.WaitInFlight(1, 10*time.Second) {
		t.Fatal("nothing in flight")
	}
	k.Break()
	<-q.Done()
	if q.Err() == nil {
		t.Error("no reason given")
	}
	m.Resume()
	for deadline := time.Now().Add(10 * time.Second); m.Admitted() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the request was not released")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestUblkThreads: the hook sees each thread once, before it serves.
func TestUblkThreads(t *testing.T) {
	for _, alone := range []bool{false, true} {
		m := attachtest.New(attachtest.Config{Size: 1 << 20, Alone: alone})
		defer m.Close()
		k := attach.NewUblkDriver(2)
		var calls atomic.Int32
		q := attach.ServeUblk(k, m, func() { calls.Add(1) })
		if n := k.Do(attach.UblkOpRead, 0, 0, 8, make([]byte, 4096)); n != 4096 {
			t.Errorf("read: %d", n)
		}
		k.Stop()
		<-q.Done()
		want := int32(2) // the queue's and the admission's
		if loop, ok := any(m).(interface{ Accompanies() bool }); ok && loop.Accompanies() {
			want = 1 // the queue's is the disk's own
		}
		if n := calls.Load(); n != want {
			t.Errorf("alone %v: %d threads, want %d", alone, n, want)
		}
	}
}

// TestUblkOutlivesTheDisksLoop: when the disk is closed, its thread goes on for
// the device and fails what comes, until the driver takes its tags back.
func TestUblkOutlivesTheDisksLoop(t *testing.T) {
	m := attachtest.New(attachtest.Config{Size: 1 << 20})
	k := attach.NewUblkDriver(4)
	q := attach.ServeUblk(k, m, nil)
	b := make([]byte, 4096)
	if n := k.Do(attach.UblkOpWrite, 0, 0, 8, b); n != 4096 {
		t.Fatalf("write: %d", n)
	}
	closed := make(chan struct{})
	go func() { m.Close(); close(closed) }()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := int32(0); n != eio; n = k.Do(attach.UblkOpRead, 0, 0, 8, make([]byte, 4096)) {
			}
			for range 20 {
				if n := k.Do(attach.UblkOpRead, 0, 0, 8, make([]byte, 4096)); n != eio {
					t.Errorf("read of a closed disk: %d", n)
				}
			}
		})
	}
	wg.Wait()
	k.Stop()
	<-q.Done()
	<-closed
	if err := q.Err(); err != nil {
		t.Error(err)
	}
}

// TestUblkAllocatesNothing on the way of a request, whichever way it goes.
func TestUblkAllocatesNothing(t *testing.T) {
	k, _, _ := ublkBed(t, 4, attachtest.Config{Size: 1 << 20, Info: attach.Info{WriteCache: true, Trim: true, TrimZeroes: true}})
	b := make([]byte, 16<<10)
	round := func() {
		k.Do(attach.UblkOpWrite, attach.UblkFUA, 8, 32, b)
		k.Do(attach.UblkOpRead, 0, 8, 32, b)
		k.Do(attach.UblkOpWriteZeroes, 0, 8, 32, nil)
	}
	round()
	// The driver above makes a closure for each fetch and commit: 3 a round.
	if n := testing.AllocsPerRun(200, round); n > 3 {
		t.Errorf("%v allocations for three requests, of which the driver's are 3", n)
	}
}

// fill makes b a pattern that differs from place to place.
func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i>>9) ^ byte(i)*3 ^ seed | 1
	}
}
