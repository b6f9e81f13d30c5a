package initiator

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
	"aoe/reserve"

	"github.com/mdlayher/aoe"
)

// TestI3LargeTransfersDoNotHoldAndWait: many calls, each of many parts, while
// there is memory for one part at a time only. If any held one part and waited
// for the memory of the next, they would wait for each other.
func TestI3LargeTransfersDoNotHoldAndWait(t *testing.T) {
	b := newBed(t, bedConfig{
		target: initiatortest.Config{Sectors: 16384},
		disk: Config{
			MaxRequest: 16 << 10, Depth: 2, ReservedRequests: 1,
			FailNormal: func() bool { return true },
		},
	})
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			want := pattern(uint64(c), 1<<20)
			if _, err := b.disk.WriteAt(want, int64(c)<<20); err != nil {
				t.Error(err)
			}
			got := make([]byte, len(want))
			if _, err := b.disk.ReadAt(got, int64(c)<<20); err != nil {
				t.Error(err)
			}
			same(t, got, want, "read back")
		})
	}
	callers.Wait()
	s := b.disk.Stats()
	if s.Reserve.Regime != reserve.Crunch || s.Reserve.FromReserve == 0 {
		t.Errorf("the reserve was not what carried it: %+v", s.Reserve)
	}
}

// TestI4AdmittedRequestsNeedNothingMore: all that can be admitted is admitted,
// then memory is gone altogether, and all of it completes.
func TestI4AdmittedRequestsNeedNothingMore(t *testing.T) {
	var gone atomic.Bool
	b := newBed(t, bedConfig{disk: Config{Depth: 4, FailNormal: gone.Load}})
	var all []*Request
	for i := range 4 {
		r, err := b.disk.Admit(b.ctx(), Op{Kind: Read, Offset: int64(i) * 65536, Length: 65536})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	gone.Store(true)
	b.disk.SetPressure(true)
	ended := make(chan *Request, len(all))
	for _, r := range all {
		r.Submit(func(r *Request) { ended <- r })
	}
	for range all {
		if r := <-ended; r.Err() != nil {
			t.Error(r.Err())
		} else {
			r.Release()
		}
	}
}

// TestI5ForeignFramesAreFreedAtOnce: a flood of frames that answer nothing
// passes through the stock and leaves it as it was; reads go on.
func TestI5ForeignFramesAreFreedAtOnce(t *testing.T) {
	b := newBed(t, bedConfig{sw: linktest.Config{Queue: 1 << 14}})
	stocked := b.disk.Stats().Reserve.Stocked
	flooder := b.sw.Port(frame.MAC{2, 0, 0, 0, 0, 3})
	rng := rand.New(rand.NewPCG(1, 1))
	frames := make([][]byte, 64)
	const rounds = 20
	for i := range frames {
		h := frame.Header{Dst: ours, Src: theirs, Flags: frame.FlagResponse, Addr: e11, Tag: rng.Uint32()}
		if i%2 == 0 {
			h.Src = frame.MAC{2, 0, 0, 0, 0, 3}
		}
		frames[i] = append(frame.NewATA(frame.OpRead, 0, 1).Append(h.Append(nil)), make([]byte, 8000)...)
	}
	p := make([]byte, 4096)
	for range rounds {
		if _, err := flooder.Send(frames); err != nil {
			t.Fatal(err)
		}
		if _, err := b.disk.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.until("all of the flood is freed", func() bool {
		return b.disk.Stats().Reserve.FreedAtOnce >= rounds*uint64(len(frames))
	})
	s := b.disk.Stats()
	if s.Reserve.Stocked != stocked || s.Drops.Source < rounds*32 || s.Drops.Tag+s.Drops.Late < rounds*32 {
		t.Errorf("%d stocked, want %d; dropped: %+v", s.Reserve.Stocked, stocked, s.Drops)
	}
}

// TestI7ReceivingDoesNotWaitForSending: while nothing that is sent goes out,
// what comes in is still looked at.
func TestI7ReceivingDoesNotWaitForSending(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{Depth: 4}})
	b.sw.Cut(ours, theirs)
	var all []*Request
	ended := make(chan *Request, 4)
	for i := range 4 {
		r, err := b.disk.Admit(b.ctx(), Op{Kind: Write, Offset: int64(i) * 4096, Length: 4096})
		if err != nil {
			t.Fatal(err)
		}
		r.Submit(func(r *Request) { ended <- r })
		all = append(all, r)
	}
	before := b.disk.Stats().Drops.Short
	other := b.sw.Port(frame.MAC{2, 0, 0, 0, 0, 3})
	short := append(append([]byte(nil), ours[:]...), 2, 0, 0, 0, 0, 3, 0x88, 0xa2, 0x10)
	for range 100 {
		if _, err := other.Send([][]byte{short}); err != nil {
			t.Fatal(err)
		}
	}
	b.until("what comes in is looked at", func() bool { return b.disk.Stats().Drops.Short == before+100 })
	b.sw.Heal()
	for range all {
		r := <-ended
		if r.Err() != nil {
			t.Error(r.Err())
		}
		r.Release()
	}
}

// TestI10NoAllocationPerRequest: the whole round trip, on the loop's goroutine
// and the caller's, with every kind of end.
func TestI10NoAllocationPerRequest(t *testing.T) {
	noLeaks(t)
	m := newMirror()
	defer m.Close()
	d, err := Open(context.Background(), Config{Link: m, Addr: e11, Probe: -1, Rand: rand.NewPCG(1, 1), RTOMin: 200 * time.Microsecond, FrameLife: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ended := make(chan *Request, 1)
	done := func(r *Request) { ended <- r }
	again := func(r *Request) {
		r.Release()
		r, _ = d.TryAdmit(Op{Read, 4096, 4096})
		r.Submit(done)
	}
	ctx := context.Background()
	one := func(op Op) *Request {
		r, err := d.Admit(ctx, op)
		if err != nil {
			t.Fatal(err)
		}
		if op.Kind == Write {
			for _, s := range r.Segments() {
				s[0] = 1
			}
		}
		r.Submit(done)
		r = <-ended
		r.Segments()
		return r
	}
	set := func(lose func(int) bool, refuse aoe.Error) {
		m.mu.Lock()
		m.lose, m.refuse = lose, refuse
		m.mu.Unlock()
	}
	p := make([]byte, 300<<10)
	for _, row := range []struct {
		name string
		f    func()
	}{
		{"read", func() { one(Op{Read, 4096, 4096}).Release() }},
		{"long read", func() { one(Op{Read, 4096, 128 << 10}).Release() }},
		{"write", func() { one(Op{Write, 4096, 64 << 10}).Release() }},
		{"flush", func() { one(Op{Kind: Flush}).Release() }},
		{"trim", func() { one(Op{Trim, 4096, 1 << 20}).Release() }},
		{"TryAdmit from the callback", func() {
			r, _ := d.Admit(ctx, Op{Read, 0, 4096})
			r.Submit(again)
			(<-ended).Release()
		}},
		{"lost and sent again", func() {
			set(func(nth int) bool { return nth%2 == 0 }, 0)
			one(Op{Write, 4096, 32 << 10}).Release()
			set(nil, 0)
		}},
		{"refused", func() {
			set(nil, aoe.ErrorTargetIsReserved)
			r := one(Op{Read, 4096, 32 << 10})
			if r.Err() == nil {
				t.Error("no error")
			}
			r.Release()
			set(nil, 0)
		}},
		{"refused before it begins", func() {
			if _, err := d.Admit(ctx, Op{Read, 1, 1}); err != ErrUnaligned {
				t.Error(err)
			}
		}},
		{"ReadAt", func() { _, _ = d.ReadAt(p, 1001) }},
		{"WriteAt", func() { _, _ = d.WriteAt(p, 1024) }},
		{"Flush", func() { _ = d.Flush(ctx) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			// The least of a few: what the runtime allocates for itself in
			// between is not ours.
			var runs []float64
			for range 3 {
				runs = append(runs, testing.AllocsPerRun(50, row.f))
			}
			if n := slices.Min(runs); n != 0 {
				t.Errorf("%v allocations", runs)
			}
		})
	}
}

// TestCrunch: with normal memory failing half of the time, everything goes on,
// and no more is in flight than the small stock holds.
func TestCrunch(t *testing.T) {
	faults := reserve.NewFaults(3, 500)
	b := newBed(t, bedConfig{
		sw:   linktest.Config{Seed: 3, MTU: 1500, Faults: linktest.Faults{Loss: 0.01, Duplicate: 0.02, Reorder: 0.05}},
		disk: Config{MaxRequest: 16 << 10, Depth: 16, FailNormal: faults.Fail, FrameLife: 20 * time.Millisecond},
	})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 20 {
				want := pattern(uint64(w*100+i), 64<<10)
				off := int64(w)<<18 + int64(i%3)*8192
				if _, err := b.disk.WriteAt(want, off); err != nil {
					t.Error(err)
				}
				got := make([]byte, len(want))
				if _, err := b.disk.ReadAt(got, off); err != nil {
					t.Error(err)
				}
				same(t, got, want, "read back")
			}
		})
	}
	workers.Wait()
	s := b.disk.Stats()
	if s.Reserve.ToCrunch == 0 || s.Reserve.FromReserve == 0 {
		t.Errorf("no crunch: %+v", s.Reserve)
	}
	t.Logf("crunch %d times, %d claims from the reserve, low water %d of %d, %d frames sent again",
		s.Reserve.ToCrunch, s.Reserve.FromReserve, s.Reserve.ReserveLow, s.Reserve.Reserve, s.Retransmitted)
}
