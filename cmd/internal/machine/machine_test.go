package machine

import (
	"reflect"
	"testing"
	"time"
)

// TestSeeds: ours, at T3 and T2, is never dead and never wrong.
func TestSeeds(t *testing.T) {
	const seeds = 300
	for _, below := range []Below{OwnQueue, Guarded} {
		var sum Result
		worst := time.Duration(0)
		for seed := range uint64(seeds) {
			r, err := Run(seed, below)
			if err != nil {
				t.Fatal(err)
			}
			if r.Dead || r.Wrong != "" {
				t.Fatalf("seed %d at %v: dead %v, wrong %q\nreplay with: aoe lab run seeds --seed %d --seeds 1\n%+v", seed, below, r.Dead, r.Wrong, seed, r)
			}
			sum.Writes, sum.Reads, sum.Again, sum.Freed = sum.Writes+r.Writes, sum.Reads+r.Reads, sum.Again+r.Again, sum.Freed+r.Freed
			sum.Crunches, sum.Reserved, sum.Unread = sum.Crunches+r.Crunches, sum.Reserved+r.Reserved, sum.Unread+r.Unread
			worst = max(worst, r.Recovery)
		}
		t.Logf("%v: %d writes, %d reads, %d frames again, %d freed at once, %d crunches, worst recovery %v",
			below, sum.Writes, sum.Reads, sum.Again, sum.Freed, sum.Crunches, worst)
		if sum.Writes == 0 || sum.Reads == 0 || sum.Again == 0 || sum.Freed == 0 || sum.Crunches == 0 || sum.Reserved == 0 || sum.Unread == 0 {
			t.Errorf("%v: the seeds do not reach what they are for", below)
		}
	}
}

// TestCanary: the same machine without the guard dies for some seeds, so that a
// death would be seen.
func TestCanary(t *testing.T) {
	dead := 0
	for seed := range uint64(200) {
		r, err := Run(seed, Unguarded)
		if err != nil {
			t.Fatal(err)
		}
		if r.Wrong != "" {
			t.Errorf("seed %d: %s", seed, r.Wrong)
		}
		if r.Dead {
			dead++
		}
	}
	t.Logf("%d of 200 died", dead)
	if dead == 0 {
		t.Error("nothing dies without the guard: the simulation is blind")
	}
}

// TestCanaryWrong: with a fence that is as good as gone, some seed undoes a write,
// so that a wrong disk would be seen.
func TestCanaryWrong(t *testing.T) {
	const seeds = 20000
	for seed := range uint64(seeds) {
		r, err := run(seed, OwnQueue, time.Nanosecond)
		if err != nil {
			t.Fatal(err)
		}
		if r.Wrong != "" {
			t.Logf("seed %d: %s", seed, r.Wrong)
			return
		}
	}
	t.Errorf("%d seeds, and nothing was wrong: the simulation is blind", seeds)
}

// TestReplay: a seed is one run, bit for bit.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		a, err := Run(seed, OwnQueue)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Run(seed, OwnQueue)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: two runs differ:\n%+v\n%+v", seed, a, b)
		}
	}
}
