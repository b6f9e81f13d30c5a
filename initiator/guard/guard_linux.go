package guard

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"aoe/initiator/engine"
)

// A Guard is an XDP program on an interface.
type Guard struct {
	cfg   Config
	free  int64 // bytes below which free memory is low
	clock clock
	words words
	maps  struct{ disks, pulse, counters, sockets *ebpf.Map } // see maps
	link  link.Link
	index int // of the interface
	mode  Mode
	why   string // why it is not a better mode

	crunches atomic.Uint64

	mu     sync.Mutex
	pulses [MaxDisks]*Pulse // ours
	told   bool             // that memory is short
	shared bool             // another process holds the attachment
	others [MaxDisks + 1]other
	closed bool
	last   Stats
}

// Open puts a guard on the interface. It passes everything until a disk that was
// added begins.
func Open(cfg Config) (_ *Guard, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if cfg.LowBytes == 0 {
		if cfg.LowBytes, err = defaultLow(); err != nil {
			return nil, fmt.Errorf("guard: %w: set Config.LowBytes", err)
		}
	}
	free, err := lowMark()
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("guard: %s: %w", cfg.Interface, err)
	}
	g := &Guard{cfg: cfg, free: free}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.release())
		}
	}()
	if g.clock, err = newClock(); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := g.makeMaps(); err != nil {
		return nil, fmt.Errorf("guard: %w", needs(err))
	}
	err = g.attach(ifi.Index)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		if jerr := g.join(); jerr != nil {
			err = fmt.Errorf("there is another program already, `bpftool net` shows it, and it cannot be shared: %w, %w", jerr, err)
		} else {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("guard: XDP on %s: %w", cfg.Interface, needs(err))
	}
	return g, nil
}

func (g *Guard) makeMaps() (err error) {
	if g.maps.pulse, err = newShared("aoe_pulse", pulseWords); err != nil {
		return fmt.Errorf("the pulse: %w", err)
	}
	if g.words, err = mapWords(g.maps.pulse.FD(), pulseWords); err != nil {
		return fmt.Errorf("mapping the pulse: %w", err)
	}
	g.words.store(wordLayout, layout)
	g.maps.disks, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "aoe_disks", Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: MaxDisks,
		InnerMap: sharedSpec("aoe_tags", wordTags+engine.DefaultSlots),
	})
	if err != nil {
		return fmt.Errorf("the list of disks: %w", err)
	}
	if g.maps.counters, err = newCounters("aoe_guard", int(guardVerdicts)); err != nil {
		return fmt.Errorf("the counters: %w", err)
	}
	g.maps.sockets, err = newSockets()
	return err
}

// mapFDs are the maps for the program.
func (g *Guard) mapFDs() maps {
	m := maps{disks: g.maps.disks.FD(), pulse: g.maps.pulse.FD(), counters: g.maps.counters.FD()}
	if g.maps.sockets != nil {
		m.sockets = g.maps.sockets.FD()
	}
	return m
}

// program loads the program. frags is needed for an MTU whose frames do not fit
// a page, and refused by drivers that know no frames in pieces.
func (g *Guard) program(frags bool) (*ebpf.Program, error) {
	spec := &ebpf.ProgramSpec{
		Name: programName, Type: ebpf.XDP, License: license,
		Instructions: guardProgram(g.mapFDs(), engine.DefaultSlots, g.cfg.Stale, g.cfg.Allow),
	}
	if frags {
		spec.Flags = unix.BPF_F_XDP_HAS_FRAGS
	}
	return ebpf.NewProgram(spec)
}

// attach tries the best mode first.
func (g *Guard) attach(index int) error {
	var why []error
	for _, try := range []struct {
		mode  Mode
		flags link.XDPAttachFlags
		frags bool
	}{
		{Driver, link.XDPDriverMode, true},
		{Driver, link.XDPDriverMode, false},
		{Generic, link.XDPGenericMode, true},
		{Generic, link.XDPGenericMode, false},
	} {
		if g.cfg.Generic && try.mode == Driver {
			continue
		}
		p, err := g.program(try.frags)
		if err != nil {
			return err
		}
		g.link, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: try.flags})
		err = errors.Join(err, p.Close()) // the link holds it
		if err == nil {
			g.mode, g.why, g.shared, g.index = try.mode, reason(why), false, index
			g.words.store(wordHolder, uint64(os.Getpid()))
			return nil
		}
		g.link = nil
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			return err
		}
		why = append(why, fmt.Errorf("%s mode: %w", try.mode, err))
	}
	return errors.Join(why...)
}

// reason is the first of what went wrong: that is what would have been best.
func reason(why []error) string {
	if len(why) == 0 {
		return ""
	}
	return why[0].Error()
}

// Tier says what is attached. Its Filter is not the guard's to know.
func (g *Guard) Tier() Tier {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Tier{Guard: g.mode, Why: g.why}
}

// Add makes the guard look after a disk: answers to what its table holds pass.
// The pulse is the disk's to beat.
func (g *Guard) Add(t *Table) (*Pulse, error) {
	if t.slots != engine.DefaultSlots {
		return nil, fmt.Errorf("guard: a table of %d slots: want %d", t.slots, engine.DefaultSlots)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range MaxDisks {
		if !g.words.claim(wordOwner(i), uint64(os.Getpid())) {
			continue
		}
		key := uint32(packAddr(t.addr))
		if err := g.maps.disks.Update(key, t.memory, ebpf.UpdateNoExist); err != nil {
			g.words.store(wordOwner(i), 0)
			return nil, fmt.Errorf("guard: adding %v: %w", t.addr, err)
		}
		g.words.store(wordKey(i), uint64(key))
		g.words.set(wordShort(i), shortTold, g.told)
		p := &Pulse{guard: g, index: i, memory: memory{fd: -1}}
		g.pulses[i] = p
		if g.cfg.LowBytes >= 0 {
			var err error
			if p.memory, err = openMemory(g.cfg.LowBytes); err != nil {
				return nil, errors.Join(fmt.Errorf("guard: %w", err), p.leave())
			}
		}
		return p, nil
	}
	return nil, fmt.Errorf("guard: %v: it looks after %d disks already, and no more are possible", t.addr, MaxDisks)
}

// SetPressure tells of a shortage of memory, or of its end, that somebody else
// has found. It counts in addition to what the disks find.
func (g *Guard) SetPressure(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.told = on
	for i, p := range g.pulses {
		if p != nil {
			g.words.set(wordShort(i), shortTold, on)
		}
	}
}

// Stats are what the guard has counted, as last read if the kernel has no memory
// to tell.
func (g *Guard) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return g.last
	}
	s := &g.last
	s.Interface, s.Mode, s.Allow, s.LowBytes = g.cfg.Interface, g.mode, g.cfg.Allow, g.cfg.LowBytes
	if n, err := read(g.maps.counters, guardVerdicts); err == nil {
		s.add(n)
	}
	s.Crunch, s.Crunches = g.crunchLocked(), g.crunches.Load()
	return *s
}

// crunchLocked is the program's rule, with a reason.
func (g *Guard) crunchLocked() string {
	for i := range MaxDisks {
		short, beat := g.words.load(wordShort(i)), g.words.load(wordBeat(i))
		age := time.Duration(g.clock.now() - beat)
		switch {
		case short&shortTold != 0:
			return "told that memory is short"
		case short != 0:
			return "a disk finds memory short"
		case beat != 0 && age > g.cfg.Stale:
			return fmt.Sprintf("a disk's loop has not been heard of for %v", age.Round(time.Millisecond))
		}
	}
	return ""
}

// Close takes the guard off the interface.
func (g *Guard) Close() error {
	g.Stats()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	var errs []error
	for _, p := range g.pulses {
		if p != nil {
			errs = append(errs, p.leave())
		}
	}
	if g.link != nil {
		g.words.store(wordHolder, 0)
	}
	return errors.Join(append(errs, g.release())...)
}

// release closes what there is, the attachment first.
func (g *Guard) release() error {
	var errs []error
	if g.link != nil {
		errs = append(errs, g.link.Close())
	}
	for i := range g.others {
		errs = append(errs, g.others[i].close())
	}
	return errors.Join(append(errs, g.closeMaps())...)
}

func (g *Guard) closeMaps() error {
	errs := []error{g.words.unmap()}
	for _, m := range []*ebpf.Map{g.maps.disks, g.maps.pulse, g.maps.counters, g.maps.sockets} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
