package reserve

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutation breaks one rule in the source, in one place.
type mutation struct {
	rule     string
	test     string // that must notice
	file     string
	old, new string
	hangs    bool // the test notices by never ending
}

var mutations = []mutation{
	{"I1: a buffer that is released is not freed", "TestI1Conservation", "grant.go",
		"r.put(b, granted)", "b.move(granted, free)", false},
	{"I1: a buffer of the reserve is freed as normal memory's", "TestI1Conservation", "reserve.go",
		"if b.origin == FromReserve {", "if false {", false},
	{"I1: what shrinks is still counted", "TestI1Conservation", "stock.go",
		"		r.stocked--\n", "", false},
	{"I1: a slab is returned while it is used", "TestUsedSlabStays", "slab.go",
		"sl.usable && sl.list.n == len(sl.buffers) &&", "sl.usable && sl.list.n > 0 &&", false},
	{"I2: a claim is admitted with too little free", "TestI2SumOfClaims", "admit.go",
		"r.freeNormal()+r.freeReserve.n >= n,", "r.freeNormal()+r.freeReserve.n >= 0,", false},
	{"I3: who holds a grant may claim more", "TestI3NoHoldAndWait", "admit.go",
		"if g.phase != idle {", "if g.phase == queued {", false},
	{"I3: claims wait while holding a part", "TestI3AllAtOnceNeedsOnlyM", "admit.go",
		"if r.waiting.n > 0 || !r.take(g, n) {", "if r.waiting.n > 0 || r.freeReserve.n < n+1 || !r.take(g, n) {", false},
	{"I4: a claim gets one buffer less", "TestI4ClaimIsComplete", "admit.go",
		"		for range n {\n			g.buffers = append", "		for range n - 1 {\n			g.buffers = append", false},
	{"I4: the guarantee is not backed when slabs are returned", "TestExchangeAcrossOrigins", "grow.go",
		"r.slabs.idleOne(r.slabs.mapped - r.surplus())", "r.slabs.idleOne(r.slabs.mapped)", false},
	{"I5: the reply stays in the stock", "TestI5ExchangeKeepsStock", "stock.go",
		"g.buffers[i], sl.b = out, in", "g.buffers[i], sl.b = in, out", false},
	{"I5: the frame's length is not reset", "TestI5ExchangeKeepsStock", "stock.go",
		"		s.frames[i] = s.slots[i].b.Data\n		s.classified--", "		s.classified--", false},
	{"I5: a frame may stay unclassified", "TestI5OneTurn", "stock.go",
		"if i == len(s.slots) || !s.slots[i].done {", "if i < len(s.slots) && !s.slots[i].done {\n			continue\n		}\n		if i == len(s.slots) {", false},
	{"I5: a frame may be classified twice", "TestI5OneTurn", "stock.go",
		"	if sl.done {", "	if false {", false},
	{"I6: dropping takes the buffer out of the stock", "TestI6DropCostsNothing", "stock.go",
		"	s.classify(slot)\n	s.freed.Add(1)", "	s.classify(slot)\n	s.freed.Add(1)\n	s.r.stats.busy++", false},
	{"I7: a turn takes the lock", "TestI7ReceivingTakesNoLock", "stock.go",
		"if s.attend || s.version != s.r.version.Load() {", "if true {", true},
	{"I8: the credit is given before the buffers are free", "TestI8LastUnit", "grant.go",
		"	r.mu.Lock()\n	r.release(g)\n", "	r.mu.Lock()\n	r.serve()\n	r.release(g)\n	r.unlock()\n	r.mu.Lock()\n	if true {\n		r.mu.Unlock()\n		return\n	}\n", false},
	{"I8: the last unit cannot be used", "TestI8LastUnit", "admit.go",
		"	if r.waiting.n > 0 || !r.take(g, n) {", "	if r.waiting.n > 0 || r.freeReserve.n == n || !r.take(g, n) {", false},
	{"I10: sealed, and grants are still made", "TestI10Sealed", "grant.go",
		"	if r.sealed {", "	if false {", false},
	{"I10: a claim makes its list anew", "TestI10NoAllocation", "grant.go",
		"	g.buffers = g.buffers[:0]\n", "	g.buffers = nil\n", false},
	{"I13: a double free is taken", "TestI13DoubleFree", "buffer.go",
		"	if b.state != from {", "	if false {", false},
	{"I13: a double release is taken", "TestI13DoubleFree", "grant.go",
		"	if g.phase != held {", "	if g.phase == queued {", false},
	{"I14: a release wakes nobody", "TestI14FirstComeFirstServed", "grant.go",
		"	r.released()\n	r.serve()\n", "	r.released()\n", false},
	{"I14: a small claim overtakes a large one", "TestI14FirstComeFirstServed", "admit.go",
		"if r.waiting.n == 0 && r.take(g, n) {", "if r.take(g, n) {", false},
	{"I14: TryAdmit overtakes", "TestI14FirstComeFirstServed", "admit.go",
		"if r.waiting.n > 0 || !r.take(g, n) {", "if !r.take(g, n) {", false},
	{"I14: last come, first served", "TestI14FirstComeFirstServed", "grant.go",
		"func (q *queue) push(g *Grant) {\n", "func (q *queue) push(g *Grant) {\n	if q.first != nil {\n		g.next, q.first.prev, q.first = q.first, g, g\n		q.n++\n		return\n	}\n", false},
	{"I14: a claim that can never fit waits", "TestI14TooLargeIsRefused", "admit.go",
		"if n > g.max || n > r.claimable() {", "if false {", false},
	{"I14: a wake-up is lost with who gave up", "TestCancelAfterGrant", "admit.go",
		"		g.Release()\n	}\n	return ctx.Err()", "	}\n	return ctx.Err()", false},
	{"I14: giving up lets nobody through", "TestCancelLetsOthersThrough", "admit.go",
		"	r.serve() // what stood", "	// what stood", false},
	{"crunch: a stock keeps its size", "TestStockFollowsTheRegime", "stock.go",
		"for len(s.slots) > s.guaranteed {", "for len(s.slots) > s.want {", false},
	{"crunch: claims take what is withheld for the stocks", "TestStockRegrowsUnderOverload", "admit.go",
		"	return r.missing()\n", "	return 0\n", false},
	{"crunch: the reserve is used without need", "TestBudgetIsNoCrunch", "admit.go",
		"return r.regime.now == Crunch || n > r.slabs.budget-r.want", "return true", false},
	{"crunch: the regime flaps", "TestHysteresis", "regime.go",
		"r.regime.patience = min(2*r.regime.patience, maxPatience)\n	} else {", "r.regime.patience = minPatience\n	} else {", false},
	{"crunch: a hanging system is not noticed", "TestHangingSystem", "regime.go",
		"r.regime.late > minPatience", "r.regime.late > 1<<30", false},
	{"crunch: nobody holds anything, and a claim waits", "TestExchangeAcrossOrigins", "admit.go",
		"		r.granted == 0: //", "		false: //", false},
}

// TestMutations breaks the rules one by one in a copy of the source, and sees
// to it that their tests notice. What no test notices is not tested.
func TestMutations(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the package once for each mutation: run without -short")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command:", err)
	}
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			overlay := m.overlay(t)
			timeout := "-timeout=30s"
			if m.hangs {
				timeout = "-timeout=5s"
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-count=1", timeout, "-run", "^"+m.test+"$", ".")
			cmd.Env = append(os.Environ(), "GOFLAGS=")
			out, err := cmd.CombinedOutput()
			text := string(out)
			switch {
			case err == nil:
				t.Errorf("%s did not notice:\n%s", m.test, text)
			case strings.Contains(text, "[build failed]"):
				t.Errorf("the mutation does not build:\n%s", text)
			case strings.Contains(text, "test timed out") && !m.hangs:
				t.Errorf("%s hangs:\n%s", m.test, text)
			case !strings.Contains(text, "--- FAIL: "+m.test) && !strings.Contains(text, "panic: ") && !strings.Contains(text, "fatal error: "):
				t.Errorf("%s failed in some other way:\n%s", m.test, text)
			}
		})
	}
}

// overlay writes the mutated file, and the file that tells the go command to
// build it in place of the original.
func (m mutation) overlay(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", m.file, m.old, n)
	}
	dir := t.TempDir()
	mutated := filepath.Join(dir, m.file)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	for name, data := range map[string]string{mutated: strings.Replace(string(text), m.old, m.new, 1), file: string(overlay)} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file
}
