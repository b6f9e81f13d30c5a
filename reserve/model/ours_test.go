package model

import (
	"fmt"
	"testing"
)

// TestOursReplays walks every edge of the search over our own policy on a
// reserve that lives from the beginning of the path to its end, and compares
// what that reserve says with what the search believed: so that a state may be
// rebuilt from its counts, and the model cannot drift from the implementation.
func TestOursReplays(t *testing.T) {
	for _, cfg := range []OursConfig{
		{Reserve: 3, Stock: 1, Requests: 5},
		{Reserve: 6, Stock: 2, Requests: 5},
		{Reserve: 9, Stock: 3, Requests: 4},
	} {
		t.Run(fmt.Sprintf("%+v", cfg), func(t *testing.T) {
			o := mustOurs(t, cfg)
			for _, p := range OursInTiers() {
				p.Store = o
				walked := replay(t, o, World{Pages: 3, Policy: p})
				if walked < 100 {
					t.Errorf("%s: only %d edges: this looks at too little", p.Name, walked)
				}
			}
		})
	}
}

func replay(t *testing.T, o *Ours, w World) int {
	g := w.Graph()
	walked := 0
	for i, s := range g.States {
		path := g.Path(i)
		for _, tr := range w.Next(s) {
			d, err := o.open()
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range append(path[:len(path):len(path)], Step[State]{tr.Event, tr.To}) {
				if op, ok := operation(step); ok && !d.do(op) {
					t.Fatalf("%s: the reserve refuses %s after %s", w.Policy.Name, step.Event, Ways(path))
				}
				if got := d.cells(); got != step.To.Store {
					t.Fatalf("%s: after %s the reserve is in %v, the search in %v", w.Policy.Name, step.Event, got, step.To.Store)
				}
			}
			walked++
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return walked
}

// operation is what a step does to the reserve, if anything.
func operation(step Step[State]) (op, bool) {
	switch step.Event {
	case Sent, Queued:
		return opAdmit, true
	case Replied:
		return opReply, true
	case Completed:
		return opFinish, true
	case Dropped:
		return opDrop, true
	case Forged:
		return opForeign, true
	}
	return 0, false
}

// TestOursRefusals: what the search believes impossible, the reserve refuses
// too: a slot beyond the stock, a reply that nobody waits for, a drop of
// nothing, more requests than there are grants.
func TestOursRefusals(t *testing.T) {
	cfg := OursConfig{Reserve: 6, Stock: 2, Requests: 4}
	o := mustOurs(t, cfg)
	w := World{Pages: 3, Policy: OursInTiers()[2]}
	w.Policy.Store = o
	refused := 0
	for _, s := range w.Graph().States {
		for _, which := range []op{opAdmit, opReply, opForeign, opDrop} {
			_, ok := o.do(s, which)
			var want bool
			switch which {
			case opAdmit:
				want = int(s.Store[oursHeld]+s.Store[oursWaiting]) < cfg.Requests
			case opReply, opForeign:
				want = int(s.Store[oursReplies]+s.Store[oursForeign]+s.Store[oursDone]) < cfg.Stock
			case opDrop:
				want = s.Store[oursForeign] > 0
			}
			if ok != want {
				t.Fatalf("operation %d in %v: %v, want %v", which, s.Store, ok, want)
			}
			if !ok {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused: this looks at nothing")
	}
}

func TestOursConfig(t *testing.T) {
	for _, cfg := range []OursConfig{{}, {Reserve: 2, Stock: 1, Requests: 1}, {Reserve: 3, Stock: 0, Requests: 1}, {Reserve: 3, Stock: 1}} {
		if _, err := NewOurs(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
