package engine

import (
	"encoding/binary"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// powerNetworks are those behind which the target's machine loses its power now
// and then, and with it some of what was not flushed, sector by sector; or the
// target is killed, and the machine is not, which loses nothing. It is back after
// a while, as one with a write cache or without. Sometimes it announces itself.
var powerNetworks = []simConfig{
	{name: "power failures", life: simLife, overtake: -1, power: powerConfig{on: true}},
	{name: "power failures, orderly", fifo: true, life: time.Hour, overtake: simJitter, power: powerConfig{on: true}},
	{name: "power failures, two paths", fifo: true, paths: 2, life: simLife + simJitter, overtake: simJitter, power: powerConfig{on: true}},
	{name: "power failures, short frames at times", shrinks: true, life: simLife, overtake: -1, power: powerConfig{on: true}},
	{name: "killed, and no power failures", life: simLife, overtake: -1, power: powerConfig{on: true, stays: true}},
}

type powerConfig struct {
	on    bool
	stays bool // the power: the target is only killed
	mute  bool // IDENTIFY does not tell of the verifier
	lies  bool // it stays the same
}

type power struct {
	offUntil time.Duration
	epoch    uint64 // of the cache
}

type powerResult struct {
	failures, flushes, reports, lost uint64
}

func (a *powerResult) add(b powerResult) {
	a.failures += b.failures
	a.flushes += b.flushes
	a.reports += b.reports
	a.lost += b.lost
}

// TestH17SimulatedPowerFailures: after a flush that has succeeded, all that was
// acknowledged before it was submitted is on stable storage; and none fails
// without the power having failed.
func TestH17SimulatedPowerFailures(t *testing.T) {
	first, last := simSeeds(t)
	for _, cfg := range powerNetworks {
		t.Run(cfg.name, func(t *testing.T) {
			total, seed := simulateAll(first, last, cfg)
			if total.err != nil {
				t.Fatalf("seed %d: %v\nreplay with: go test ./initiator/engine -run TestH17SimulatedPowerFailures -seed %d", seed, total.err, seed)
			}
			t.Logf("%d seeds: %d requests, %d power failures or kills, %d sectors forgotten, %d flushes succeeded, %d said so",
				last-first+1, total.requests, total.failures, total.lost, total.flushes, total.reports)
			if *simSeed == 0 && (total.flushes == 0 || (total.reports == 0 || total.lost == 0) != cfg.power.stays) {
				t.Error("the simulation does not reach what it is there for")
			}
		})
	}
}

// TestH17SimulationCatchesForgetting is the canary: where the target does not tell
// that it has forgotten, some flush succeeds that should not have.
func TestH17SimulationCatchesForgetting(t *testing.T) {
	for name, p := range map[string]powerConfig{
		"no verifier":       {on: true, mute: true},
		"the same verifier": {on: true, lies: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 1000; seed++ {
				if r := simulate(seed, simConfig{life: simLife, overtake: -1, power: p}); r.err != nil {
					t.Logf("seed %d: %v", seed, r.err)
					return
				}
			}
			t.Error("1000 seeds, and nothing was missed: the simulation is blind")
		})
	}
}

// plugIn makes the target one that has a write cache, and says so.
func (s *sim) plugIn() {
	s.target.Change(func(c *initiatortest.Config) {
		c.Instance, c.Verifier = 1, frame.NewVerifier(0)
		if s.cfg.power.mute {
			c.Instance = 0
		}
	})
}

// powerFails takes the target away for longer than a frame lives, as starting a
// machine does.
func (s *sim) powerFails() {
	if s.now < s.power.offUntil {
		return
	}
	s.result.failures++
	s.power.offUntil = s.now + simLife + 2*simJitter + time.Duration(s.rng.Int64N(int64(100*time.Millisecond)))
	s.executed = map[uint32][][]byte{}
	killed := s.cfg.power.stays || s.rng.IntN(3) == 0
	if !killed {
		s.ledger.powerFailed()
		s.power.epoch++
		share := s.rng.Float64()
		s.target.PowerFails(func(uint64) bool {
			lose := s.rng.Float64() < share
			if lose {
				s.result.lost++
			}
			return lose
		})
	}
	through := s.rng.IntN(3) == 0
	s.target.Change(func(c *initiatortest.Config) {
		c.WriteThrough = through
		if !s.cfg.power.mute {
			c.Instance++
		}
		if !s.cfg.power.lies {
			c.Verifier = frame.NewVerifier(s.power.epoch)
		}
	})
	if s.rng.IntN(2) == 0 {
		for port := range max(s.cfg.paths, 1) {
			f := s.target.Announcement()
			copy(f[6:12], [][]byte{theirs[:], theirs2[:]}[port])
			s.at(s.power.offUntil+s.delay(), f, lane{false, port})
		}
	}
}

// flushed: a flush has succeeded.
func (s *sim) flushed(r *Request) {
	s.result.flushes++
	s.ledger.flushed(r)
	if !s.cfg.power.on {
		return
	}
	for lba := range uint64(simSectors) {
		got := binary.BigEndian.Uint64(s.target.Stable(int(lba)*frame.SectorSize, 8))
		if !s.ledger.has(lba, got, s.writing()) {
			a := &s.ledger.sectors[lba]
			s.fail("a flush has succeeded, and sector %d holds write %d and not %d, or one of %v", lba, got, a.log[a.stable], a.log[a.stable+1:])
		}
	}
}

// reported: a flush has told that something may be missing.
func (s *sim) reported(r *Request) {
	s.result.reports++
	if s.ledger.cuts == 0 {
		s.fail("a flush says that writes are missing, and the power has never failed")
	}
	s.ledger.reported(r)
}

// writing is what is being written.
func (s *sim) writing() map[*Request]uint64 {
	w := map[*Request]uint64{}
	for _, r := range s.live {
		if r.Kind == Write {
			w[r] = s.value[r]
		}
	}
	return w
}
