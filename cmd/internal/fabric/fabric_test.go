package fabric

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// one is an initiator with a disk of each target, 200 ms of it counted.
func one(initiator Initiator, targets ...Target) Config {
	for i := range targets {
		initiator.Disks = append(initiator.Disks, i)
	}
	return Config{Initiators: []Initiator{initiator}, Targets: targets, Time: 300 * time.Millisecond, Mark: 100 * time.Millisecond}
}

func mustRun(t *testing.T, seed uint64, cfg Config) Result {
	t.Helper()
	r, err := Run(seed, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Wrong != "" {
		t.Fatal(r.Wrong)
	}
	return r
}

const slow = 200 * time.Microsecond // to serve a frame

// TestCapacity: a target that is asked for all it can do does it, and loses
// nothing; so does a cable.
func TestCapacity(t *testing.T) {
	for _, writes := range []bool{false, true} {
		r := mustRun(t, 1, one(Initiator{Requests: 8, Claims: 8, Writes: writes}, Target{Advertised: 32, Buffers: 32, Service: slow}))
		// 1000 frames in 200 ms, 4 to a request.
		if n := r.Disks[0].Requests; n < 240 || n > 260 || r.TargetLost+r.SwitchLost+r.RingLost+r.Disks[0].Again > 0 {
			t.Errorf("writes %v: %d requests, want some 250: %+v", writes, n, r)
		}
	}
	r := mustRun(t, 1, one(Initiator{Requests: 16, Claims: 16}, Target{Advertised: 64, Buffers: 64, Service: time.Microsecond}))
	// 1084 bytes on the wire for 1024 of a read are 23,000 frames in 200 ms.
	if n := 4 * r.Disks[0].Requests; n < 20000 || n > 23100 {
		t.Errorf("%d frames over a cable", n)
	}
}

// TestOverrun: a target that says it holds more than it does loses the excess, to
// the engine and to who trusts it, and both get on.
func TestOverrun(t *testing.T) {
	for _, trusts := range []bool{false, true} {
		r := mustRun(t, 1, one(Initiator{Requests: 16, Claims: 16, Trusts: trusts}, Target{Advertised: 64, Buffers: 8, Service: slow}))
		d := r.Disks[0]
		if r.TargetLost == 0 || d.Again == 0 || d.Requests < 200 {
			t.Errorf("trusts %v: %+v", trusts, d)
		}
		if trusts && d.Window != 64 || !trusts && d.Window > 16 {
			t.Errorf("trusts %v: the window is %d", trusts, d.Window)
		}
	}
}

// TestDeath: what a dead target costs the others depends on how memory is divided.
func TestDeath(t *testing.T) {
	for _, pool := range []Pool{Own, Shares, Together} {
		targets := []Target{{Advertised: 16, Buffers: 16, Service: slow}, {Advertised: 16, Buffers: 16, Service: slow, DiesAt: 20 * time.Millisecond}}
		r := mustRun(t, 1, one(Initiator{Requests: 4, Claims: 4, Pool: pool}, targets...))
		if healthy := r.Disks[0].Requests; pool == Together && healthy > 0 || pool != Together && healthy < 200 {
			t.Errorf("%v: the healthy disk did %d requests", pool, healthy)
		}
		if r.Disks[1].Requests > 0 || r.Disks[1].Worst() < 200*time.Millisecond {
			t.Errorf("%v: the dead disk did %d requests, the longest took %v", pool, r.Disks[1].Requests, r.Disks[1].Worst())
		}
	}
	cfg := one(Initiator{Requests: 2, Claims: 2, DeadTime: 50 * time.Millisecond}, Target{Advertised: 16, Buffers: 16, Service: slow, DiesAt: 150 * time.Millisecond})
	if d := mustRun(t, 1, cfg).Disks[0]; d.Failed != 2 {
		t.Errorf("%d requests of 2 failed after the dead time", d.Failed)
	}
}

// TestWrong: a read of another sector would be seen.
func TestWrong(t *testing.T) {
	cfg := one(Initiator{Requests: 1, Claims: 1}, Target{Advertised: 1, Buffers: 1, Service: slow, Lie: 1})
	if r, err := Run(1, cfg); err != nil || !strings.Contains(r.Wrong, "holds") {
		t.Errorf("%q, %v", r.Wrong, err)
	}
}

// TestMany initiators, each with some of as many targets, which are asked for more
// than they hold, and of which some die: nobody who can go on is left out.
func TestMany(t *testing.T) {
	// Who loses the first frames waits 100 ms, and then 200: no round trip has been
	// measured.
	cfg := Config{Time: 800 * time.Millisecond, Mark: 100 * time.Millisecond}
	const many = 80
	for i := range many {
		cfg.Targets = append(cfg.Targets, Target{Advertised: 16, Buffers: 16, Service: 2 * slow})
		if i%10 == 0 {
			cfg.Targets[i].DiesAt = 5 * time.Millisecond
		}
		cfg.Initiators = append(cfg.Initiators, Initiator{Disks: []int{i, (i + 1) % many, (i + 7) % many}, Requests: 2, Claims: 6})
	}
	r := mustRun(t, 1, cfg)
	for _, d := range r.Disks {
		if dead := d.Target%10 == 0; dead != (d.Requests == 0) {
			t.Errorf("initiator %d, target %d: %d requests", d.Initiator, d.Target, d.Requests)
		}
	}
}

// TestDivides: a target that divides its buffers serves everybody, of whom some get
// nothing otherwise.
func TestDivides(t *testing.T) {
	const many = 64
	for _, divides := range []bool{false, true} {
		cfg := Config{Time: 800 * time.Millisecond, Mark: 450 * time.Millisecond}
		cfg.Targets = []Target{{Advertised: many, Buffers: 2 * many, Service: 20 * time.Microsecond, Divides: divides}}
		for range many {
			cfg.Initiators = append(cfg.Initiators, Initiator{Disks: []int{0}, Requests: 4, Claims: 4})
		}
		least := 1 << 30
		for _, d := range mustRun(t, 1, cfg).Disks {
			least = min(least, d.Requests)
		}
		// An equal part is 68.
		if divides && least < 34 || !divides && least >= 34 {
			t.Errorf("divides %v: the least that an initiator gets is %d", divides, least)
		}
	}
}

// TestSmallWindows: a target that has room for one frame of each initiator, and does
// not divide it, is kept busy, and nobody is left out for good. It is the worst case
// of many that lose frames to each other: who loses waits longer each time, while
// those who were served ask again at once.
func TestSmallWindows(t *testing.T) {
	const many = 64
	cfg := Config{Time: 1500 * time.Millisecond, Mark: 500 * time.Millisecond}
	cfg.Targets = []Target{{Advertised: many, Buffers: many, Service: 20 * time.Microsecond}}
	for range many {
		cfg.Initiators = append(cfg.Initiators, Initiator{Disks: []int{0}, Requests: 4, Claims: 4})
	}
	const equal = 195 // requests: an equal part of what the target can do
	for seed := range uint64(2) {
		all, least, windows := 0, 1<<30, 0
		var sent, again uint64
		var worst time.Duration
		for _, d := range mustRun(t, seed, cfg).Disks {
			all, least, windows = all+d.Requests, min(least, d.Requests), windows+d.Window
			sent, again, worst = sent+d.Sent, again+d.Again, max(worst, d.Worst())
		}
		t.Logf("seed %d: %d requests, the least %d of an equal part of %d, %d %% of the frames sent again, windows for %d frames in room for %d, longest %v",
			seed, all, least, equal, 100*again/sent, windows, many, worst)
		if all < many*equal*95/100 {
			t.Errorf("seed %d: %d requests of %d", seed, all, many*equal)
		}
		if least < equal/10 {
			t.Errorf("seed %d: somebody gets %d requests of %d", seed, least, equal)
		}
		if 2*again > sent {
			t.Errorf("seed %d: %d of %d frames were sent again", seed, again, sent)
		}
	}
}

// TestReplay: a seed is one run, bit for bit.
func TestReplay(t *testing.T) {
	cfg := one(Initiator{Requests: 16, Claims: 16, Writes: true}, Target{Advertised: 64, Buffers: 8, Service: slow})
	a, b, c := mustRun(t, 1, cfg), mustRun(t, 1, cfg), mustRun(t, 2, cfg)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Errorf("one seed twice:\n%+v\n%+v\nanother:\n%+v", a, b, c)
	}
}

func TestRefused(t *testing.T) {
	for claims, want := range map[int]string{0: "0 claims for 2 disks", 3: "3 claims for 2 disks"} {
		_, err := Run(1, one(Initiator{Requests: 1, Claims: claims}, Target{Service: slow}, Target{Service: slow}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, fmt.Sprint(err))
		}
	}
}
