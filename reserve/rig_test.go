package reserve

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakeMemory is a system that does as it is told.
type fakeMemory struct {
	mu       sync.Mutex
	fail     error         // what mapping returns
	failBack error         // what unmap returns
	gate     chan struct{} // when not nil, mapping waits for a token: a hanging mmap
	entered  chan struct{} // gets one for each mapping that waits
	avail    int64
	mapped   map[*byte]int // live mappings, by their first byte
}

func newFakeMemory() *fakeMemory {
	return &fakeMemory{avail: unknown, mapped: map[*byte]int{}, entered: make(chan struct{}, 64)}
}

var errNoMemory = errors.New("fake: cannot allocate memory")

func (m *fakeMemory) mapping(n int, lock bool) ([]byte, error) {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		m.entered <- struct{}{}
		<-gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	b := make([]byte, max(n, 64<<10))[:n]
	m.mapped[&b[0]] = n
	return b, nil
}

func (m *fakeMemory) unmap(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failBack != nil {
		return m.failBack
	}
	if m.mapped[&b[0]] != len(b) {
		return fmt.Errorf("fake: unmapping %d bytes that were not mapped so", len(b))
	}
	delete(m.mapped, &b[0])
	return nil
}

func (m *fakeMemory) available() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.avail
}

func (m *fakeMemory) total() int64 { return unknown }
func (m *fakeMemory) close() error { return nil }

func (m *fakeMemory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *fakeMemory) live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mapped)
}

// A rig is a reserve over a system that does as it is told, and a switch that
// makes normal allocation fail.
type rig struct {
	*Reserve
	t    testing.TB
	mem  *fakeMemory
	fail bool // injected; only for tests on one goroutine
}

const testBuffer = 2000

// newRig makes a reserve that is closed, and looked over, when the test ends.
func newRig(t testing.TB, reserve, normal int) *rig {
	t.Helper()
	noLeak(t)
	x := &rig{t: t, mem: newFakeMemory()}
	return x.open(Config{BufferSize: testBuffer, Reserve: reserve, Normal: normal, FailNormal: func() bool { return x.fail }})
}

func (x *rig) open(cfg Config) *rig {
	x.t.Helper()
	r, err := newReserve(cfg, x.mem)
	if err != nil {
		x.t.Fatal(err)
	}
	x.Reserve = r
	x.t.Cleanup(func() {
		if x.t.Failed() {
			return // whatever went wrong has been said
		}
		if !r.mu.TryLock() {
			return // a panic left it locked, and is about to end the program
		}
		r.mu.Unlock()
		if r.closed {
			return // by the test itself, which looked
		}
		r.audit(x.t)
		if err := r.Close(); err != nil {
			x.t.Error(err)
		}
		if n := x.mem.live(); n > 0 {
			x.t.Errorf("%d mappings left after Close", n)
		}
	})
	return x
}

// noLeak fails the test when it leaves goroutines behind.
func noLeak(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if !t.Failed() {
			eventually(t, "goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
		}
	})
}

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
		time.Sleep(50 * time.Microsecond) // polls a condition, with a deadline
	}
}

// audit is check the long way: it walks every list and every buffer. Nobody may
// be using the reserve or its stocks meanwhile.
func (r *Reserve) audit(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.check()
	seen := make([]bool, len(r.buffers))
	walk := func(l *freeList, origin Origin) {
		n := 0
		for b := l.top; b != nil; b = b.next {
			if seen[b.index] || b.state != free || b.origin != origin {
				t.Errorf("audit: buffer %d on the %s list: %s, from %s, seen %v", b.index, origin, stateNames[b.state], b.origin, seen[b.index])
				return
			}
			seen[b.index] = true
			n++
		}
		if n != l.n {
			t.Errorf("audit: a %s list has %d buffers and counts %d", origin, n, l.n)
		}
	}
	walk(&r.freeReserve, FromReserve)
	mapped, idle, freeNormal := 0, 0, 0
	for i := range r.slabs.all {
		sl := &r.slabs.all[i]
		walk(&sl.list, FromNormal)
		freeNormal += sl.list.n
		if has := r.slabs.avail[i/64]>>(i%64)&1 == 1; has != (sl.list.n > 0) {
			t.Errorf("audit: slab %d has %d free, its bit says %v", i, sl.list.n, has)
		}
		if sl.usable {
			mapped += len(sl.buffers)
			if sl.list.n == len(sl.buffers) {
				idle++
			}
		}
	}
	if mapped != r.slabs.mapped || idle != r.slabs.idle || freeNormal != r.slabs.free {
		t.Errorf("audit: slabs count mapped %d, idle %d, free %d; there are %d, %d, %d",
			r.slabs.mapped, r.slabs.idle, r.slabs.free, mapped, idle, freeNormal)
	}
	stockedNow := 0
	for _, s := range r.stocks {
		if len(s.slots) < s.guaranteed || len(s.slots) > s.want {
			t.Errorf("audit: a stock of %d to %d has %d", s.guaranteed, s.want, len(s.slots))
		}
		for i, sl := range s.slots {
			if seen[sl.b.index] || sl.b.state != stocked {
				t.Errorf("audit: buffer %d in slot %d is %s, seen %v", sl.b.index, i, stateNames[sl.b.state], seen[sl.b.index])
			}
			seen[sl.b.index] = true
			stockedNow++
		}
	}
	count := [4]int{}
	for i := range r.buffers {
		b := &r.buffers[i]
		count[b.state]++
		if (b.state == unmapped) != (b.Data == nil) {
			t.Errorf("audit: buffer %d is %s with %d bytes of data", i, stateNames[b.state], len(b.Data))
		}
	}
	if count[stocked] != stockedNow || count[stocked] != r.stocked || count[granted] != r.granted ||
		count[unmapped] != len(r.buffers)-r.cfg.Reserve-mapped {
		t.Errorf("audit: by state %v, stocked %d, granted %d, mapped %d", count, r.stocked, r.granted, mapped)
	}
}

// panics runs f and returns what it panicked with.
func panics(t testing.TB, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Errorf("panic %q, want one with %q", got, want)
		}
	}()
	f()
}

func (x *rig) grants(n, most int) []*Grant {
	all := make([]*Grant, n)
	for i := range all {
		all[i] = x.NewGrant(most)
	}
	return all
}

// admit claims, and fails the test when it cannot be had now.
func (x *rig) admit(g *Grant, n int) {
	x.t.Helper()
	if !x.TryAdmit(g, n) {
		x.t.Fatalf("claim of %d not admitted: %+v", n, x.Stats())
	}
}

// turn receives one frame in each of the first n slots, as a link does it.
func turn(s *Stock, n int) [][]byte {
	frames := s.Frames()
	for i := range n {
		frames[i] = frames[i][:60]
	}
	return frames
}

func origins(g *Grant) (normal, reserve int) {
	for _, b := range g.Buffers() {
		if b.Origin() == FromReserve {
			reserve++
		} else {
			normal++
		}
	}
	return
}
