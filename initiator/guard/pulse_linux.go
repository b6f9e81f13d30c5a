package guard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A clock reads CLOCK_MONOTONIC, which bpf_ktime_get_ns also does, without a
// system call: time.Now has it too, but does not tell its zero.
type clock struct {
	start time.Time
	zero  uint64
}

func newClock() (clock, error) {
	var ts unix.Timespec
	// First ours, then Go's: what is told is late rather than early.
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return clock{}, fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	return clock{time.Now(), uint64(ts.Nano())}, nil
}

func (c clock) now() uint64 { return c.zero + uint64(time.Since(c.start)) }

const (
	// beatsPerStale is how often a loop that has nothing to do tells that it
	// works, in the time that a guard believes it.
	beatsPerStale = 10
	// lookEvery is how often it looks at the memory at most: 20,000 frames
	// a second, which take a page each, take 800 KB in that time.
	lookEvery = 10 * time.Millisecond
	// shortFor is how long memory counts as short after it was: one that is
	// on the edge would let the flood in between every two looks.
	shortFor = 250 * time.Millisecond
)

// A Pulse is how a disk's loop tells a guard that it works, and that memory is
// fine. Beat belongs to the loop.
type Pulse struct {
	guard *Guard
	index int

	looked, wasShort uint64 // when
	low, told        bool
	memory           memory
	info             unix.Sysinfo_t
}

// Interval is how often Beat wants to be called.
func (p *Pulse) Interval() time.Duration { return p.guard.cfg.Stale / beatsPerStale }

// Beat tells that the loop has just finished a turn. short tells that the disk
// has had to do with reserved memory.
func (p *Pulse) Beat(short bool) {
	g := p.guard
	now := g.clock.now()
	if now-p.looked >= uint64(lookEvery) {
		p.looked, p.low = now, p.isLow()
	}
	if short || p.low {
		p.wasShort = now
		if !p.told {
			p.told = true
			g.crunches.Add(1)
			g.words.set(wordShort(p.index), shortFound, true)
		}
	} else if p.told && now-p.wasShort >= uint64(shortFor) {
		p.told = false
		g.words.set(wordShort(p.index), shortFound, false)
	}
	g.words.store(wordBeat(p.index), now)
}

// isLow asks for what is available, and for what is free: when that falls below
// the kernel's own marks there is no time to make any of the rest free. sysinfo(2)
// sums a few numbers and needs no memory. What cannot be found out is low.
func (p *Pulse) isLow() bool {
	if p.guard.cfg.LowBytes < 0 {
		return false
	}
	short := p.memory.isShort()
	if unix.Sysinfo(&p.info) != nil {
		return true
	}
	return short || uint64(p.info.Freeram)*uint64(p.info.Unit) < uint64(p.guard.free)
}

// Stop tells that the disk's loop has ended, on purpose or because its link has
// failed: there is no disk to keep memory for, and cutting everybody off would
// help nobody.
func (p *Pulse) Stop() {
	p.guard.words.store(wordBeat(p.index), 0)
	p.guard.words.set(wordShort(p.index), shortFound, false)
}

// Close makes the guard forget the disk: its frames are foreign from now on, and
// its silence means nothing. The disk has been closed before.
func (p *Pulse) Close() error {
	g := p.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.pulses[p.index] != p {
		return nil
	}
	return p.leave()
}

// leave is Close under the guard's lock.
func (p *Pulse) leave() error {
	p.guard.pulses[p.index] = nil
	return errors.Join(p.guard.clear(p.index), p.memory.close())
}

// clear forgets disk i. That nobody owns it comes last: it can be taken then.
func (g *Guard) clear(i int) error {
	g.words.store(wordBeat(i), 0)
	g.words.store(wordShort(i), 0)
	err := g.maps.disks.Delete(uint32(g.words.load(wordKey(i))))
	g.words.store(wordOwner(i), 0)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// lowMark is halfway between the kernel's min and low watermarks, of all zones
// together, in bytes.
func lowMark() (int64, error) {
	f, err := os.Open("/proc/zoneinfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	marks := map[string]int64{}
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if len(field) != 2 || field[0] != "min" && field[0] != "low" {
			continue
		}
		n, err := strconv.ParseInt(field[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/zoneinfo: %w", err)
		}
		marks[field[0]] += n
	}
	if marks["low"] == 0 {
		return 0, errors.New("/proc/zoneinfo has no watermarks")
	}
	return (marks["min"] + marks["low"]) / 2 * int64(os.Getpagesize()), nil
}
