package target_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// A gate is a store that makes calls wait until the test lets them through.
type gate struct {
	*storetest.Fault
	entered chan storetest.Call
	pass    chan error
}

// newGate waits with every call for which stop says so.
func newGate(size int64, stop func(storetest.Call) bool) *gate {
	g := &gate{entered: make(chan storetest.Call, 1024), pass: make(chan error, 1024)}
	g.Fault = storetest.NewFault(store.Memory(size), storetest.FaultConfig{Hook: func(c storetest.Call) error {
		if c.Now {
			return store.ErrWouldBlock
		}
		if !stop(c) {
			return nil
		}
		g.entered <- c
		return <-g.pass
	}})
	return g
}

func writes(c storetest.Call) bool { return c.Op == storetest.Write }
func reads(c storetest.Call) bool  { return c.Op == storetest.Read }

// open lets n calls through.
func (g *gate) open(n int) {
	for range n {
		g.pass <- nil
	}
}

// TestH2CopyOfARequestInTheWorks: it is carried out once and answered once.
func TestH2CopyOfARequestInTheWorks(t *testing.T) {
	g := newGate(1<<20, func(c storetest.Call) bool { return c.Op != storetest.Sync })
	r := serve(t, target.Config{}, 1, disk(e11, 1000), target.Disk{Addr: e21, Store: g})
	for _, f := range [][]byte{
		r.write(e21, 8, sectors(8, 1)),
		r.read(e21, 64, 8),
		r.trim(e21, frame.TrimRange{LBA: 128, Sectors: 8}),
	} {
		before := r.stats(e21).Copies
		r.tap.in <- f
		<-g.entered
		for range 5 {
			r.silent(bytes.Clone(f))
		}
		g.open(1)
		wantOK(t, r.answer(r.tap, f))
		r.barrier()
		if n := r.stats(e21).Copies - before; n != 5 {
			t.Errorf("%d copies dropped, want 5", n)
		}
	}
	if n := g.Calls(storetest.Write) + g.Calls(storetest.Read) + g.Calls(storetest.Trim); n != 3 {
		t.Errorf("the disk was asked %d times for 3 requests", n)
	}
	// After the answer a read is another request: the answer was lost.
	f := r.read(e21, 8, 8)
	for range 2 {
		g.open(1)
		wantOK(t, r.ask(f))
	}
	<-g.entered
	<-g.entered
}

// Same tag, but not the same request: from another sender, to another address,
// with other data. None of them is a copy.
func TestH2TagAloneMakesNoCopy(t *testing.T) {
	g := newGate(1<<20, writes)
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: g})
	first := r.write(e11, 0, sectors(2, 1))
	alter := func(f func(b []byte)) []byte {
		b := bytes.Clone(first)
		f(b)
		return b
	}
	others := [][]byte{
		first,
		from(macB, bytes.Clone(first)),
		alter(func(b []byte) { b[28] = 100 }),
		alter(func(b []byte) { b[36+1023] = 2 }),
		alter(func(b []byte) { b[26] = 1 }),
	}
	for _, f := range others {
		r.tap.in <- f
	}
	g.open(len(others))
	for range others {
		<-g.entered
		wantOK(t, r.next(r.tap))
	}
	wantData(t, r.ask(r.read(e11, 0, 1)), sectors(1, 1))
}

// TestH3OverlappingRequestsKeepTheirOrder: what overlaps a write waits for it, in
// the order of arrival, on whatever link it came; the rest does not wait.
func TestH3OverlappingRequestsKeepTheirOrder(t *testing.T) {
	g := newGate(1<<20, writes)
	r := serve(t, target.Config{}, 2, target.Disk{Addr: e11, Store: g})
	other := func(f []byte) []byte { return to(r.taps[1].State().MAC, from(macB, f)) }

	w1 := r.write(e11, 0, sectors(8, 1))
	r.tap.in <- w1
	<-g.entered
	w2 := other(r.write(e11, 4, sectors(8, 2))) // overlaps w1
	r.taps[1].in <- w2
	r.until("w2 waits", func() bool { return r.stats(e11).Waited == 1 })
	r3 := r.read(e11, 4, 1) // must see w2
	r.tap.in <- r3
	r.until("r3 waits", func() bool { return r.stats(e11).Waited == 2 })
	w4 := r.write(e11, 4, sectors(1, 4)) // must not be seen by r3
	r.tap.in <- w4
	r.until("w4 waits", func() bool { return r.stats(e11).Waited == 3 })

	wantData(t, r.ask(r.read(e11, 100, 8)), sectors(8, 0)) // has nothing to do with it
	w5 := r.write(e11, 200, sectors(1, 5))
	r.tap.in <- w5
	<-g.entered // nor has this

	g.open(4)
	got := map[string]bool{}
	for range 4 {
		f := r.next(r.tap)
		switch tagOf(f) {
		case tagOf(w1):
			got["w1"] = true
		case tagOf(r3):
			got["r3"] = true
			wantData(t, f, sectors(1, 2))
		case tagOf(w4):
			got["w4"] = true // perhaps on the wire before r3, which has its data by then
		case tagOf(w5):
			got["w5"] = true
		}
	}
	wantOK(t, r.answer(r.taps[1], w2))
	if len(got) != 4 {
		t.Errorf("answered: %v", got)
	}
	wantData(t, r.ask(r.read(e11, 0, 12)),
		append(append(sectors(4, 1), sectors(1, 4)...), sectors(7, 2)...))
}

// Reads do not wait for reads.
func TestH3ReadsShare(t *testing.T) {
	g := newGate(1<<20, reads)
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: g})
	a, b := r.read(e11, 0, 8), r.read(e11, 0, 8)
	r.tap.in <- a
	r.tap.in <- b
	<-g.entered
	<-g.entered // both are at the disk
	g.open(2)
	r.next(r.tap)
	r.next(r.tap)
}

// torn is a store whose writes and reads come apart in the middle.
type torn struct{ store.Store }

func (s torn) ReadAt(p []byte, off int64) (int, error) { return s.apart(p, off, s.Store.ReadAt) }

func (s torn) WriteAt(p []byte, off int64) (int, error) { return s.apart(p, off, s.Store.WriteAt) }

func (s torn) apart(p []byte, off int64, do func([]byte, int64) (int, error)) (int, error) {
	for i := 0; i < len(p); i += frame.SectorSize {
		if _, err := do(p[i:i+frame.SectorSize], off+int64(i)); err != nil {
			return i, err
		}
		runtime.Gosched()
	}
	return len(p), nil
}

// Initiators on two links write and read the same few blocks as fast as they
// can. Nobody ever reads half of a write, and the last write that each block got
// is one of the last that were written.
func TestH3NoTornReads(t *testing.T) {
	const seed, blocks, rounds = 11, 4, 300
	r := serve(t, target.Config{}, 2, target.Disk{Addr: e11, Store: torn{store.Memory(1 << 20)}})
	var wg sync.WaitGroup
	for i, tp := range r.taps {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			u := &rig{t: t, server: r.server, tap: tp, tag: uint32(i) << 16}
			out := 0
			for range rounds {
				lba := uint64(rng.IntN(blocks))*8 + uint64(rng.IntN(2))*4
				if rng.IntN(2) == 0 {
					tp.in <- u.write(e11, lba&^7, sectors(8, byte(rng.IntN(200))))
				} else {
					tp.in <- u.read(e11, lba&^7, 8)
				}
				if out++; out == 16 {
					checkWhole(t, seed, u.next(tp))
					out--
				}
			}
			for range out {
				checkWhole(t, seed, u.next(tp))
			}
		})
	}
	wg.Wait()
	if st := r.stats(e11); st.Waited == 0 {
		t.Error("nothing ever waited: the test tests nothing")
	}
}

// checkWhole checks that the answer, if it is to a read, holds one write.
func checkWhole(t *testing.T, seed int, f []byte) {
	rest := wantOK(t, f)
	if len(f) > frame.MinLen && bytes.Count(rest, rest[:1]) != len(rest) {
		t.Errorf("seed %d: a read holds parts of several writes", seed)
	}
}

// A file is written by one goroutine, which takes what is there at once: many
// writes, few syncs, every one answered, in both modes.
func TestManyWritesToAFile(t *testing.T) {
	const n = 500
	for _, mode := range []target.Mode{target.ModeSync, target.ModeFlush} {
		st, err := store.Open(store.Config{Path: image(t, 1<<20)})
		if err != nil {
			t.Fatal(err)
		}
		// Without Prompt, which a file on tmpfs is.
		r := serve(t, target.Config{}, 2, target.Disk{Addr: e11, Store: torn{st}, Mode: mode})
		for i := range n {
			tp := r.taps[i%2]
			f := to(tp.State().MAC, r.write(e11, uint64(i), sectors(1, byte(i%200+1))))
			tp.in <- f
			if i >= 20 {
				wantOK(t, r.next(tp))
			}
		}
		for i := range 20 {
			wantOK(t, r.next(r.taps[i%2]))
		}
		for i := range n {
			wantData(t, r.ask(r.read(e11, uint64(i), 1)), sectors(1, byte(i%200+1)))
		}
		if st := r.stats(e11); st.Writes != n || mode == target.ModeSync && st.Syncs == 0 || mode == target.ModeFlush && st.Syncs != 0 {
			t.Errorf("%v: %d writes, %d syncs", mode, st.Writes, st.Syncs)
		}
		r.close()
	}
}

// TestH7OverflowIsCountedAndHarmless: what finds no buffer is dropped; what was
// taken is answered; the buffers are all there again afterwards. No more is
// advertised than is reserved.
func TestH7OverflowIsCountedAndHarmless(t *testing.T) {
	const count = 4
	g := newGate(1<<20, reads)
	r := serve(t, target.Config{BufferCount: count}, 1, disk(e11, 1000), target.Disk{Addr: e21, Store: g})
	if n := configOf(t, r.ask(r.query(e21, 0, ""))).BufferCount; n != count {
		t.Fatalf("%d buffers advertised, want %d", n, count)
	}
	for range 3 {
		before := r.stats(e21).Overflow
		taken := map[uint32]bool{}
		for i := range 100 {
			f := r.read(e21, uint64(i), 1)
			from(frame.MAC{2, 0, 0, 0, 1, byte(i)}, f) // a hundred initiators
			taken[tagOf(f)] = true
			r.tap.in <- f
		}
		r.until("all are looked at", func() bool {
			st := r.stats(e21)
			return uint64(st.Held)+st.Overflow-before == 100
		})
		st := r.stats(e21)
		if st.Held < st.BufferCount || st.Held > st.Buffers {
			t.Errorf("%d buffers in use of %d reserved and %d advertised", st.Held, st.Buffers, st.BufferCount)
		}
		held := st.Held
		g.open(held)
		for range held {
			f := r.next(r.tap)
			wantOK(t, f)
			if !taken[tagOf(f)] {
				t.Errorf("tag %x is answered twice, or was never asked", tagOf(f))
			}
			delete(taken, tagOf(f))
		}
		r.until("all buffers are back", func() bool { return r.stats(e21).Held == 0 })
		r.barrier()
	}
}

// TestH23OneInitiatorCannotTakeAll: an initiator alone gets what is advertised,
// and however much it sends, another gets its part.
func TestH23OneInitiatorCannotTakeAll(t *testing.T) {
	const count = 8
	g := newGate(1<<20, reads)
	r := serve(t, target.Config{BufferCount: count}, 1, disk(e11, 1000), target.Disk{Addr: e21, Store: g})
	flood := func(mac frame.MAC, n int) {
		before := r.stats(e21)
		for i := range n {
			r.tap.in <- from(mac, r.read(e21, uint64(i), 1))
		}
		r.until("all are looked at", func() bool {
			st := r.stats(e21)
			return st.Held-before.Held+int(st.Overflow-before.Overflow) == n
		})
	}
	held := func() int { return r.stats(e21).Held }

	flood(macA, 100)
	if n := held(); n != count {
		t.Errorf("an initiator alone holds %d, want the %d advertised", n, count)
	}
	flood(macB, 100)
	if n := held(); n != 2*count {
		t.Errorf("two hold %d, want all %d", n, 2*count)
	}
	// A third comes when all is taken. As the others drain it gets a third.
	macC := frame.MAC{2, 0, 0, 0, 0, 3}
	flood(macC, 10)
	if n := held(); n != 2*count {
		t.Errorf("three hold %d of %d", n, 2*count)
	}
	third := 2 * count / 3
	answered := map[frame.MAC]int{}
	for i := range uint64(2 * count) {
		g.open(1)
		answered[frame.MAC(r.next(r.tap)[0:6])]++
		r.until("a buffer is back", func() bool { return held() < 2*count })
		for j, mac := range []frame.MAC{macA, macB, macC} {
			r.tap.in <- from(mac, r.read(e21, 500+3*i+uint64(j), 1))
		}
		r.barrier()
	}
	rest := held()
	g.open(rest)
	for range rest {
		answered[frame.MAC(r.next(r.tap)[0:6])]++
	}
	if answered[macC] < third-1 {
		t.Errorf("the third initiator got %d answers of %v, want about %d", answered[macC], answered, third)
	}
}
