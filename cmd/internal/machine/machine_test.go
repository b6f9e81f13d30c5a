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

// TestSeveral disks whose first has a target that is late, away or dead: what is on
// the others is written, and read as it was written.
func TestSeveral(t *testing.T) {
	const seeds = 300
	for _, below := range []Below{OwnQueue, Guarded} {
		fates, pools := map[Fate]int{}, map[Pool]int{}
		for seed := range uint64(seeds) {
			r, err := RunSeveral(seed, below, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Dead || r.Wrong != "" {
				t.Fatalf("seed %d at %v: dead %v, wrong %q\nreplay with: aoe lab run several --seed %d --seeds 1\n%+v", seed, below, r.Dead, r.Wrong, seed, r)
			}
			fates[r.Options.Fate] += r.Writes
			pools[r.Options.Pool] += r.Writes
		}
		t.Logf("%v: writes by fate %v, by pool %v", below, fates, pools)
		if len(fates) != 4 || len(pools) != 2 {
			t.Errorf("%v: the seeds do not reach what they are for", below)
		}
	}
}

// TestCanarySeveral: with one reserve for whoever comes first, with normal memory
// beside shares, or without the guard, some seed has a healthy disk that cannot go on.
func TestCanarySeveral(t *testing.T) {
	const seeds, enough = 5000, 1
	together, borrowing := Together, Borrowing
	for name, c := range map[string]struct {
		below Below
		pool  *Pool
	}{"first come": {OwnQueue, &together}, "normal memory": {Guarded, &borrowing}, "no guard": {Unguarded, nil}} {
		seed, dead := uint64(0), 0
		for ; seed < seeds && dead < enough; seed++ {
			r, err := RunSeveral(seed, c.below, c.pool)
			if err != nil {
				t.Fatal(err)
			}
			if r.Wrong != "" {
				t.Errorf("%s, seed %d: %s", name, seed, r.Wrong)
			}
			if r.Dead && (c.pool == nil || r.Options.Fate == Dead) {
				dead++
			} else if r.Dead {
				t.Errorf("%s, seed %d: dead, and all targets live: %+v", name, seed, r)
			}
		}
		t.Logf("%s: %d of %d died", name, dead, seed)
		if dead == 0 {
			t.Errorf("%s: nothing dies: the simulation is blind", name)
		}
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
		if a, err = RunSeveral(seed, OwnQueue, nil); err != nil {
			t.Fatal(err)
		}
		if b, err = RunSeveral(seed, OwnQueue, nil); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("several disks, seed %d: two runs differ:\n%+v\n%+v", seed, a, b)
		}
	}
}
