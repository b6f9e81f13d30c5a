package linktest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"aoe/frame"
)

// A Config describes a Switch. The zero value is a perfect segment with an MTU
// of 1500, on which time passes by itself.
type Config struct {
	// Seed of all random choices. Print it when a test fails. Zero is a seed
	// like any other.
	Seed uint64
	// Faults of every path between two ports.
	Faults
	// MTU of every port in bytes, without the Ethernet header. Zero means 1500.
	MTU int
	// Queue is the most frames that can be on their way to a port, in flight or
	// waiting to be received; more are lost. Zero means 1024.
	Queue int
	// Pad makes all frames that arrive at least 60 bytes long, as hardware
	// does. Without it they arrive as they were sent, as on a veth or a tap.
	Pad bool
	// Manual makes time stand still except in Step.
	Manual bool
}

const (
	defaultMTU   = 1500
	defaultQueue = 1024
)

// A Switch is an Ethernet segment in memory.
type Switch struct {
	mu      sync.Mutex
	cfg     Config
	rng     *rand.Rand
	started time.Time     // when time passes by itself
	manual  time.Duration // now, when it does not
	ports   []*Port       // in order of creation, which fixes the order of the draws
	cuts    map[path]bool
	script  Script
	stats   SwitchStats
}

// A path leads from one port to another.
type path struct{ from, to frame.MAC }

// A Script decides the fate of a frame, instead of what the Faults have drawn
// for it. It borrows the frame f for the call, and must not call the switch or
// its ports.
type Script func(from, to frame.MAC, f []byte, drawn Fate) Fate

// SwitchStats counts frames, one to a group once for every port it goes to.
type SwitchStats struct {
	Delivered  uint64 // put on the way to a port, copies included
	Lost       uint64 // by Faults or Script
	Duplicated uint64 // by Faults or Script
	Cut        uint64 // lost to Cut or Partition
	Overflowed uint64 // lost because too many were on the way to the port
	Oversize   uint64 // longer than the receiving port's MTU
	Down       uint64 // to a port that is down
	Unknown    uint64 // to a MAC that no port has
}

// NewSwitch makes a segment without ports. It panics when cfg makes no sense.
func NewSwitch(cfg Config) *Switch {
	cfg.check()
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	if cfg.Queue == 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.MTU < 0 || cfg.Queue < 0 {
		panic(fmt.Sprintf("linktest: neither MTU %d nor queue %d may be negative", cfg.MTU, cfg.Queue))
	}
	return &Switch{cfg: cfg, rng: newRand(cfg.Seed), started: time.Now(), cuts: make(map[path]bool)}
}

// Port opens a port with the given address, which is up. Several may have the
// same one, like several sockets on one interface: each receives what is
// sent to that address, and none what another of them sends.
func (s *Switch) Port(mac frame.MAC) *Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := newPort(s, mac, len(s.ports))
	s.ports = append(s.ports, p)
	return p
}

// Seed is what the switch was made with.
func (s *Switch) Seed() uint64 { return s.cfg.Seed }

// Stats are the counters since the switch was made.
func (s *Switch) Stats() SwitchStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// SetFaults replaces the faults. Frames that are on their way keep their fate.
func (s *Switch) SetFaults(f Faults) {
	f.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Faults = f
}

// SetScript makes f decide the fate of all frames sent from now on; nil leaves
// it to the Faults again.
func (s *Switch) SetScript(f Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = f
}

// Cut loses all frames from one address to another, in this direction only.
func (s *Switch) Cut(from, to frame.MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts[path{from, to}] = true
}

// Partition loses all frames between the given addresses and all others, in
// both directions.
func (s *Switch) Partition(group ...frame.MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inside := make(map[frame.MAC]bool)
	for _, m := range group {
		inside[m] = true
	}
	for _, a := range s.ports {
		for _, b := range s.ports {
			if inside[a.state.MAC] != inside[b.state.MAC] {
				s.cuts[path{a.state.MAC, b.state.MAC}] = true
			}
		}
	}
}

// Heal undoes all Cuts and Partitions.
func (s *Switch) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cuts)
}

// Now is the time on the switch's clock, which started at zero.
func (s *Switch) Now() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nowLocked()
}

func (s *Switch) nowLocked() time.Duration {
	if s.cfg.Manual {
		return s.manual
	}
	return time.Since(s.started)
}

// Step moves the clock of a manual switch to now, which is not before the last
// step. Frames that are due by then can be received.
func (s *Switch) Step(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cfg.Manual {
		panic("linktest: Step on a switch whose time passes by itself: set Config.Manual")
	}
	if now < s.manual {
		panic(fmt.Sprintf("linktest: Step back in time, from %v to %v", s.manual, now))
	}
	s.manual = now
}

// Next is when the next frame arrives at an open port that has not been
// received yet, and false if none is on its way. It may be in the past.
func (s *Switch) Next() (due time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if d, on := p.flight.next(); on && !p.closed && (!ok || d < due) {
			due, ok = d, true
		}
	}
	return due, ok
}

// forwardLocked puts the frame f from p on the way to where it is addressed.
func (s *Switch) forwardLocked(p *Port, f []byte) {
	if binary.BigEndian.Uint16(f[12:]) != uint16(frame.EtherType) {
		return // links receive nothing else
	}
	now := s.nowLocked()
	dst := frame.MAC(f[0:6])
	known := false
	for _, to := range s.ports {
		switch {
		case to.closed || to.state.MAC == p.state.MAC:
		case dst == to.state.MAC || dst.IsMulticast():
			known = true
			s.carryLocked(p, to, f, now)
		}
	}
	if !known {
		s.stats.Unknown++
	}
}

// carryLocked decides what happens to f between two ports.
func (s *Switch) carryLocked(from, to *Port, f []byte, now time.Duration) {
	fate := s.cfg.draw(s.rng)
	if s.script != nil {
		fate = s.script(from.state.MAC, to.state.MAC, f, fate)
	}
	switch {
	case s.cuts[path{from.state.MAC, to.state.MAC}]:
		s.stats.Cut++
		return
	case fate.Lost:
		s.stats.Lost++
		return
	case !to.state.Up:
		s.stats.Down++
		return
	case len(f) > to.state.MTU+frame.EthernetLen:
		s.stats.Oversize++
		return
	}
	s.arriveLocked(to, f, now+fate.Delay)
	if fate.Twice {
		s.stats.Duplicated++
		s.arriveLocked(to, f, now+fate.SecondDelay)
	}
}

func (s *Switch) arriveLocked(to *Port, f []byte, due time.Duration) {
	if to.flight.len() >= to.queue {
		s.stats.Overflowed++
		to.stats.KernelDropped++
		return
	}
	atLeast := 0
	if s.cfg.Pad {
		atLeast = frame.MinLen
	}
	s.stats.Delivered++
	to.flight.push(due, f, atLeast)
	to.signal()
}
