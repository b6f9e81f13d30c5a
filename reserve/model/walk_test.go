package model

import (
	"math/rand/v2"
	"testing"
)

// busy are rates of a machine under a flood ten times as fast as the disk.
var busy = Rates{Dirty: 2, Send: 5, Reply: 1, Flood: 10, Forge: 1, Classify: 50, Read: 5, Refill: 50}

func never(State) bool { return false }

// TestWalksDieOnlyWhereTheSearchSays: of many seeds, none dies under a policy
// without dead states, and some do under each that has them: the canary.
func TestWalksDieOnlyWhereTheSearchSays(t *testing.T) {
	for _, p := range Lineage() {
		terrain := testWorld(p, Retained).Survey()
		clocks := terrain.Clocks(busy)
		dead := 0
		const seeds = 100
		for seed := range uint64(seeds) {
			w := terrain.Walk(rand.New(rand.NewPCG(seed, 1)))
			w.Until(clocks, 500, never)
			if w.Dead() {
				dead++
				continue
			}
			if w.Completions == 0 && w.State().pending() > 0 {
				t.Errorf("%s, seed %d: alive, and nothing was written in %d steps", p.Name, seed, w.Steps)
			}
		}
		if want := outcomes[p.Name][Retained]; (dead > 0) != want {
			t.Errorf("%s: %d of %d seeds died, want some: %v", p.Name, dead, seeds, want)
		}
	}
}

// TestBoundedSockets: when the sockets cannot hold all memory, the flood cannot
// keep applications from having any, and a policy that lives goes on working.
func TestBoundedSockets(t *testing.T) {
	for _, p := range Lineage() {
		w := testWorld(p, Retained)
		w.Pages, w.Buffers = 6, 2
		if outcomes[p.Name][Retained] {
			continue
		}
		terrain := w.Survey()
		clocks := terrain.Clocks(busy)
		for seed := range uint64(20) {
			walk := terrain.Walk(rand.New(rand.NewPCG(seed, 2)))
			walk.Until(clocks, 500, never)
			if walk.Dead() || walk.Completions < 10 {
				t.Errorf("%s, seed %d: %d writes in %d steps", p.Name, seed, walk.Completions, walk.Steps)
			}
		}
	}
}

// TestWalkReplays: the same seed is the same walk, step by step; another is not.
func TestWalkReplays(t *testing.T) {
	p, _ := Find("ours-t3")
	terrain := testWorld(p, Retained).Survey()
	clocks := terrain.Clocks(busy)
	trace := func(seed uint64) []State {
		var states []State
		w := terrain.Walk(rand.New(rand.NewPCG(seed, 1)))
		w.Until(clocks, 100, func(s State) bool { states = append(states, s); return false })
		return states
	}
	a, b, c := trace(1), trace(1), trace(2)
	if len(a) < 100 {
		t.Fatalf("%d states: this compares too little", len(a))
	}
	same := func(a, b []State) bool {
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !same(a, b) || same(a, c) {
		t.Errorf("seed 1 twice: same %v; seed 2: same %v", same(a, b), same(a, c))
	}
}
