package reserve

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// An oracle knows what was asked of a reserve, and what must be true from
// outside. It has no free lists, slabs or counters: only who owns what, and the
// order of who waits.
type oracle struct {
	*rig
	seed   uint64
	log    []string
	grants []*Grant
	sizes  map[*Grant]int // held
	queue  []*Grant
	claims map[*Grant]int // waiting
	stocks []*Stock
	marks  map[*byte]byte
	mark   byte
}

func newOracle(t testing.TB, seed uint64, reserve, normal, slab int) *oracle {
	o := &oracle{seed: seed, sizes: map[*Grant]int{}, claims: map[*Grant]int{}, marks: map[*byte]byte{}}
	o.rig = &rig{t: t, mem: newFakeMemory()}
	o.rig.open(Config{BufferSize: 128, Reserve: reserve, Normal: normal, Slab: slab * 128, FailNormal: func() bool { return o.fail }})
	guaranteed := max(1, reserve/4)
	o.stocks = append(o.stocks, o.NewStock(3*guaranteed, guaranteed))
	if reserve >= 8 {
		o.stocks = append(o.stocks, o.NewStock(guaranteed+1, guaranteed))
	}
	o.grants = o.rig.grants(6, o.MaxClaim())
	return o
}

func (o *oracle) failf(format string, args ...any) {
	o.t.Helper()
	last := o.log[max(0, len(o.log)-12):]
	o.t.Fatalf("seed %d: %s\nlast operations: %v\n%+v", o.seed, fmt.Sprintf(format, args...), last, o.Stats())
}

// step does one operation, chosen by two bytes, and then looks at everything.
func (o *oracle) step(op, arg byte) {
	g := o.grants[int(arg)%len(o.grants)]
	n := 1 + int(arg/8)%o.MaxClaim()
	name := "nothing"
	switch op % 16 {
	case 0, 1, 2:
		name = o.try(g, n)
	case 3, 4, 5:
		name = o.claim(g, n)
	case 6, 7, 8:
		name = o.release(g)
	case 9:
		name = o.cancel(g)
	case 10, 11, 12:
		name = o.receive(int(op)%len(o.stocks), int(arg))
	case 13:
		o.fail = arg%3 == 0
		name = fmt.Sprint("fail ", o.fail)
	case 14:
		o.SetPressure(arg%3 == 0)
		name = fmt.Sprint("pressure ", arg%3 == 0)
	case 15:
		o.mem.fail, o.mem.failBack = nil, nil
		switch arg % 4 {
		case 0:
			o.mem.fail = errNoMemory
		case 1:
			o.mem.failBack = errNoMemory
		}
		name = fmt.Sprint("system ", arg%4)
	}
	o.log = append(o.log, name)
	o.look()
}

func (o *oracle) idle(g *Grant) bool { return o.sizes[g] == 0 && o.claims[g] == 0 }

// must says, from what the rules promise alone, whether a claim has to be
// served now, and whether it cannot be. Between the two it depends on whether
// memory could be grown.
func (o *oracle) must(n int) (be, not bool) {
	st := o.Stats()
	strict := o.fail && st.NormalBudget > 0 || st.Pressure
	be = len(o.queue) == 0 && (len(o.sizes) == 0 || strict && st.FreeReserve >= n ||
		!strict && st.Regime == Crunch && st.Free >= n)
	not = len(o.queue) > 0 || len(o.sizes) > 0 && strict && st.FreeReserve < n
	return be, not
}

func (o *oracle) try(g *Grant, n int) string {
	if !o.idle(g) {
		return "nothing"
	}
	be, not := o.must(n)
	ok := o.TryAdmit(g, n)
	if ok && not || !ok && be {
		o.failf("TryAdmit(%d) is %v: it must be %v, must not be %v", n, ok, be, not)
	}
	if ok {
		o.own(g, n)
	}
	return fmt.Sprint("try ", g.number, " ", n, " ", ok)
}

func (o *oracle) claim(g *Grant, n int) string {
	if !o.idle(g) {
		return "nothing"
	}
	be, not := o.must(n)
	ok, err := o.AdmitFunc(g, n, o.wake)
	if err != nil || ok && not || !ok && be {
		o.failf("AdmitFunc(%d) is %v, %v: it must be %v, must not be %v", n, ok, err, be, not)
	}
	if ok {
		o.own(g, n)
	} else {
		o.queue = append(o.queue, g)
		o.claims[g] = n
	}
	return fmt.Sprint("claim ", g.number, " ", n, " ", ok)
}

// wake is called for a claim that waited: it must be the first in the queue.
func (o *oracle) wake(g *Grant, err error) {
	if err != nil || len(o.queue) == 0 || o.queue[0] != g {
		o.failf("grant %d was woken with %v, out of its turn", g.number, err)
	}
	n := o.claims[g]
	o.queue = o.queue[1:]
	delete(o.claims, g)
	o.own(g, n)
}

// own marks every buffer of a new grant as this one's.
func (o *oracle) own(g *Grant, n int) {
	o.sizes[g] = n
	if len(g.Buffers()) != n {
		o.failf("grant %d claimed %d and has %d", g.number, n, len(g.Buffers()))
	}
	for _, b := range g.Buffers() {
		o.paint(b)
	}
}

func (o *oracle) paint(b *Buffer) {
	o.mark++
	b.Data[0], b.Data[len(b.Data)-1] = o.mark, o.mark
	o.marks[&b.Data[0]] = o.mark
}

func (o *oracle) release(g *Grant) string {
	if o.sizes[g] == 0 {
		return "nothing"
	}
	for _, b := range g.Buffers() {
		delete(o.marks, &b.Data[0])
	}
	delete(o.sizes, g)
	g.Release()
	return fmt.Sprint("release ", g.number)
}

func (o *oracle) cancel(g *Grant) string {
	waits := o.claims[g] > 0
	if waits {
		for i := range o.queue {
			if o.queue[i] == g {
				o.queue = append(o.queue[:i:i], o.queue[i+1:]...)
				break
			}
		}
		delete(o.claims, g)
	}
	if o.Cancel(g) != waits {
		o.failf("Cancel(%d) is %v", g.number, !waits)
	}
	return fmt.Sprint("cancel ", g.number, " ", waits)
}

// receive is a turn of a stock: as many frames as arg says, each exchanged with
// some held grant or dropped.
func (o *oracle) receive(i, arg int) string {
	s := o.stocks[i]
	frames := s.Frames()
	if len(frames) < s.guaranteed || len(frames) > s.want {
		o.failf("a stock of %d to %d lends %d", s.guaranteed, s.want, len(frames))
	}
	n := arg % (len(frames) + 1)
	for slot := range n {
		if len(frames[slot]) != 128 {
			o.failf("slot %d is lent with %d bytes", slot, len(frames[slot]))
		}
		if _, owned := o.marks[&frames[slot][0]]; owned {
			o.failf("slot %d is lent and granted", slot)
		}
		frames[slot] = frames[slot][:60]
	}
	for slot := range n {
		g := o.grants[(arg+slot)%len(o.grants)]
		if o.sizes[g] == 0 || arg%5 == 0 {
			s.Drop(slot)
			continue
		}
		j := slot % o.sizes[g]
		delete(o.marks, &g.Buffers()[j].Data[0])
		s.Exchange(slot, g, j)
		if &g.Buffers()[j].Data[0] != &frames[slot][0] {
			o.failf("the frame of slot %d did not reach grant %d", slot, g.number)
		}
		o.paint(g.Buffers()[j])
	}
	return fmt.Sprint("receive ", i, " ", n)
}

// look compares what the oracle knows with what the reserve says.
func (o *oracle) look() {
	o.audit(o.t)
	st := o.Stats()
	held := 0
	owned := map[*byte]bool{}
	for g, n := range o.sizes {
		held += n
		for _, b := range g.Buffers() {
			p := &b.Data[0]
			if owned[p] {
				o.failf("buffer %d belongs to two", b.index)
			}
			owned[p] = true
			if m := o.marks[p]; b.Data[0] != m || b.Data[len(b.Data)-1] != m {
				o.failf("buffer %d of grant %d was written by another", b.index, g.number)
			}
		}
	}
	switch {
	case o.t.Failed():
		o.failf("the audit failed")
	case st.Granted != held || st.Queue != len(o.queue):
		o.failf("%d granted and %d waiting, want %d and %d", st.Granted, st.Queue, held, len(o.queue))
	case len(o.queue) > 0 && len(o.sizes) == 0:
		o.failf("nobody holds anything, and %d wait", len(o.queue))
	case st.Free+st.Granted < o.MaxClaim():
		o.failf("only %d buffers outside the stocks, and claims of %d are accepted", st.Free+st.Granted, o.MaxClaim())
	case st.ToCrunch-st.ToNormal > 1 || (st.ToCrunch > st.ToNormal) != (st.Regime == Crunch):
		o.failf("%s after %d and %d changes", st.Regime, st.ToCrunch, st.ToNormal)
	}
}

// finish lets everybody release until the queue is empty: nobody waits for ever.
func (o *oracle) finish() {
	o.mem.fail, o.mem.failBack = nil, nil
	for range 2 * len(o.grants) {
		for _, g := range o.grants {
			o.log = append(o.log, o.release(g))
			o.look()
		}
	}
	if len(o.queue)+len(o.sizes) > 0 {
		o.failf("%d wait and %d hold after everybody released", len(o.queue), len(o.sizes))
	}
}

func runOracle(t testing.TB, seed uint64, ops []byte) *oracle {
	rng := rand.New(rand.NewPCG(seed, 1))
	o := newOracle(t, seed, 2+rng.IntN(20), rng.IntN(40), 1+rng.IntN(8))
	for len(ops) >= 2 {
		o.step(ops[0], ops[1])
		ops = ops[2:]
	}
	o.finish()
	return o
}

// TestOracle runs random operations against the oracle. A failure prints the
// seed; put it into the first row to replay it.
func TestOracle(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	for range 60 {
		seeds = append(seeds, rand.Uint64())
	}
	crunches, waited, fromReserve := uint64(0), uint64(0), uint64(0)
	for _, seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		ops := make([]byte, 2*400)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		st := runOracle(t, seed, ops).Stats()
		crunches, waited, fromReserve = crunches+st.ToCrunch, waited+st.Waited, fromReserve+st.FromReserve
	}
	t.Logf("%d crunches, %d claims waited, %d were served from the reserve", crunches, waited, fromReserve)
	if crunches == 0 || waited == 0 || fromReserve == 0 {
		t.Error("the operations did not reach what they are for")
	}
}

// TestSameSeedSameRun: faults, randomness and growth come in as arguments, so a
// run can be replayed.
func TestSameSeedSameRun(t *testing.T) {
	run := func() string {
		rng := rand.New(rand.NewPCG(7, 7))
		faults := NewFaults(7, 200)
		x := &rig{t: t, mem: newFakeMemory()}
		x.open(Config{BufferSize: 128, Reserve: 8, Normal: 24, FailNormal: faults.Fail})
		g := x.NewGrant(4)
		s := x.NewStock(8, 4)
		trace := ""
		for range 2000 {
			if x.TryAdmit(g, 1+rng.IntN(4)) {
				trace += fmt.Sprint(len(g.Buffers()), g.Buffers()[0].index, " ")
				g.Release()
			}
			trace += fmt.Sprint(len(s.Frames()))
		}
		return trace + fmt.Sprintf("%+v", x.Stats())
	}
	if a, b := run(), run(); a != b {
		t.Error("two runs with the same seed differ")
	}
}

func FuzzOracle(f *testing.F) {
	f.Add(uint64(1), []byte("\x00\x00\x03\x11\x0d\x00\x0a\x07\x06\x00"))
	f.Add(uint64(2), []byte("\x0e\x00\x03\x21\x04\x3a\x0b\x1f\x06\x01\x0e\x01"))
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		runOracle(t, seed, ops[:min(len(ops), 4000)])
	})
}
