package reserve

import (
	"context"
	"errors"
	"runtime"
	"testing"
)

// I10: no heap allocation after start-up is sealed, also on the paths where
// something fails. The system is the real one.
func TestI10NoAllocation(t *testing.T) {
	faults := NewFaults(1, 0)
	r, err := New(Config{BufferSize: 2000, Reserve: 16, Normal: 256, Slab: 16 << 10, FailNormal: faults.Fail})
	if err != nil {
		t.Fatal(err)
	}
	g, h, big := r.NewGrant(8), r.NewGrant(12), r.NewGrant(12)
	s := r.NewStock(16, 4)
	r.Seal()
	defer r.Close()

	called := 0
	f := func(g *Grant, err error) {
		if err == nil {
			called++
		}
	}
	ctx := context.Background()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	must := func(ok bool) {
		if !ok {
			t.Helper()
			t.Fatal("not as expected")
		}
	}
	release := make(chan *Grant) // releases once somebody waits
	defer close(release)
	go func() {
		for g := range release {
			for r.Stats().Queue == 0 {
				runtime.Gosched()
			}
			g.Release()
		}
	}()
	var stats Stats
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"admit and release", func() {
			must(r.TryAdmit(g, 8))
			g.Release()
			must(r.Admit(ctx, g, 8) == nil)
			g.Release()
		}},
		{"refused", func() {
			must(r.Admit(ctx, g, 9) == ErrTooLarge)
			must(errors.Is(r.Admit(ended, g, 8), context.Canceled))
		}},
		{"receive", func() {
			must(r.TryAdmit(g, 8))
			frames := s.Frames()
			for i := range 4 {
				frames[i] = frames[i][:60]
			}
			s.Exchange(0, g, 0)
			s.Exchange(1, g, 7)
			s.Drop(2)
			s.Drop(3)
			g.Release()
		}},
		{"normal memory fails, claims wait, are cancelled and woken", func() {
			faults.SetRate(1000)
			must(r.TryAdmit(g, 8))
			s.Frames()
			must(!r.TryAdmit(big, 12))
			ok, err := r.AdmitFunc(big, 12, f)
			must(!ok && err == nil)
			ok, err = r.AdmitFunc(h, 8, f)
			must(!ok && err == nil)
			must(r.Cancel(h))
			g.Release()
			must(len(big.Buffers()) == 12)
			big.Release()
			faults.SetRate(0)
		}},
		{"a claim blocks and is woken", func() {
			faults.SetRate(1000)
			must(r.TryAdmit(g, 8))
			release <- g
			must(r.Admit(ctx, h, 12) == nil)
			h.Release()
			faults.SetRate(0)
		}},
		{"pressure comes and goes, slabs are returned and mapped", func() {
			r.SetPressure(true)
			s.Frames()
			for r.Stats().Normal > 0 {
				runtime.Gosched() // the grower returns them
			}
			must(r.TryAdmit(g, 8))
			g.Release()
			r.SetPressure(false)
			for r.Regime() == Crunch {
				runtime.Gosched() // the grower maps them
			}
			s.Frames()
		}},
		{"statistics", func() { stats = r.Stats() }},
	} {
		if n := testing.AllocsPerRun(200, c.f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", c.name, n)
		}
	}
	if called == 0 || stats.ToCrunch == 0 || stats.SlabsReturned == 0 {
		t.Errorf("%d called, %+v", called, stats)
	}
}

// The steady state: what one request of 8 frames costs.
func benchReserve(b *testing.B, fail bool) (*Reserve, *Stock, []*Grant) {
	r, err := New(Config{BufferSize: 9014, Reserve: 1024, Normal: 4096, FailNormal: func() bool { return fail }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	})
	var grants []*Grant
	for range 16 {
		grants = append(grants, r.NewGrant(16))
	}
	s := r.NewStock(64, 32)
	r.Seal()
	b.ReportAllocs()
	b.ResetTimer()
	return r, s, grants
}

func BenchmarkAdmitRelease(b *testing.B) {
	for _, n := range []int{2, 16} {
		for _, fail := range []bool{false, true} {
			name := map[bool]string{false: "normal", true: "crunch"}[fail]
			b.Run(map[int]string{2: "1 frame", 16: "8 frames"}[n]+"/"+name, func(b *testing.B) {
				r, _, grants := benchReserve(b, fail)
				for b.Loop() {
					if !r.TryAdmit(grants[0], n) {
						b.Fatal("not admitted")
					}
					grants[0].Release()
				}
			})
		}
	}
}

// BenchmarkAdmitReleaseParallel has every processor at the one lock.
func BenchmarkAdmitReleaseParallel(b *testing.B) {
	r, _, grants := benchReserve(b, false)
	free := make(chan *Grant, len(grants))
	for _, g := range grants {
		free <- g
	}
	b.RunParallel(func(pb *testing.PB) {
		g := <-free
		for pb.Next() {
			if r.TryAdmit(g, 2) {
				g.Release()
			}
		}
		free <- g
	})
}

// BenchmarkReceive is a turn of 32 frames, half of them replies; per frame.
func BenchmarkReceive(b *testing.B) {
	r, s, grants := benchReserve(b, false)
	g := grants[0]
	if !r.TryAdmit(g, 16) {
		b.Fatal("not admitted")
	}
	defer g.Release()
	for i := 0; i < b.N; i += 32 {
		frames := s.Frames()
		for j := range 32 {
			frames[j] = frames[j][:60]
		}
		for j := range 16 {
			s.Exchange(2*j, g, j)
			s.Drop(2*j + 1)
		}
	}
	s.Frames()
}
