// Package sancheck looks at the interfaces of this machine and at the disks that
// they reach, and says in plain words what is wrong: what aoe-sancheck(8) checks,
// and whether full frames come back.
//
// It only reads. [Check] opens a link for each interface and closes it.
package sancheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator"
)

// A Config says where to look.
type Config struct {
	Interfaces []string
	Open       func(name string) (link.Link, error)
	Wait       time.Duration // for answers to the first question; zero means initiator.DiscoverTime
	Answer     time.Duration // for the answer to each probe; zero means DefaultAnswer
}

// DefaultAnswer is enough for two frames to get lost.
const DefaultAnswer = time.Second

// An Interface is one of this machine's.
type Interface struct {
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	MTU      int       `json:"mtu"`
	MAC      frame.MAC `json:"mac"`
	PCI      string    `json:"pci,omitempty"` // vendor and device
	Problems []string  `json:"problems"`
}

// A Path is one of this machine's ports to one of a target's.
type Path struct {
	Interface string    `json:"interface"`
	MAC       frame.MAC `json:"mac"`
	Payload   int       `json:"payloadBytes"` // that both ends are set to
	Works     int       `json:"worksBytes"`   // that gets through; 0 if nothing does
	Serial    string    `json:"serial"`
}

// A Device is a disk, as it is seen from here.
type Device struct {
	Addr     frame.Addr `json:"address"`
	MACs     int        `json:"macs"`
	Payload  int        `json:"payloadBytes"` // that it can handle in a frame
	Local    []string   `json:"interfaces"`
	Paths    []Path     `json:"paths"`
	Problems []string   `json:"problems"`
}

// A Report is all that was found.
type Report struct {
	Interfaces []Interface `json:"interfaces"`
	Devices    []Device    `json:"devices"`
}

// Problems counts them.
func (r Report) Problems() (n int) {
	for _, i := range r.Interfaces {
		n += len(i.Problems)
	}
	for _, d := range r.Devices {
		n += len(d.Problems)
	}
	return n
}

// seen is what one interface has found.
type seen struct {
	Interface
	targets []initiator.Target
	paths   []Path // of each target
}

// Check looks. An interface that cannot be used is a problem, and no error.
func Check(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Wait <= 0 {
		cfg.Wait = initiator.DiscoverTime
	}
	if cfg.Answer <= 0 {
		cfg.Answer = DefaultAnswer
	}
	all := make([]seen, len(cfg.Interfaces))
	var wg sync.WaitGroup
	for i, name := range cfg.Interfaces {
		wg.Go(func() { all[i] = cfg.look(ctx, name) })
	}
	wg.Wait()
	r := Report{Interfaces: []Interface{}, Devices: []Device{}}
	for _, s := range all {
		r.Interfaces = append(r.Interfaces, s.Interface)
	}
	r.Devices = devices(all)
	return r, ctx.Err()
}

// look finds the disks on one interface and probes the paths to them.
func (c Config) look(ctx context.Context, name string) seen {
	s := seen{Interface: Interface{Name: name, PCI: pciID(name), Problems: []string{}}}
	l, err := c.Open(name)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return s
	}
	defer l.Close()
	state := l.State()
	s.Up, s.MTU, s.MAC = state.Up, state.MTU, state.MAC
	if !s.Up {
		s.Problems = append(s.Problems, fmt.Sprintf("%s is down, or has no carrier: ip link set %s up, and look at the cable", name, name))
		return s
	}
	asking, cancel := context.WithTimeout(ctx, c.Wait)
	s.targets, err = initiator.Discover(asking, l, frame.Anywhere)
	cancel()
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	for _, t := range s.targets {
		s.paths = append(s.paths, c.probe(ctx, l, t))
	}
	return s
}

// probe finds out how much data really gets through, there and back.
func (c Config) probe(ctx context.Context, l link.Link, t initiator.Target) Path {
	state := l.State()
	most := min(t.MaxSectors, frame.SectorsPerFrame(state.MTU))
	p := Path{Interface: state.Name, MAC: t.MAC, Payload: most * frame.SectorSize}
	id, err := c.identify(ctx, l, t, 0)
	if err != nil {
		return p // not even a small frame
	}
	p.Serial = id.Serial
	// The largest number of sectors for which a frame gets through: first all.
	works, fails := 0, most+1
	for try := most; try > works; try = (works + fails) / 2 {
		if c.through(ctx, l, t, try, id) {
			works = try
		} else {
			fails = try
		}
		if works+1 >= fails {
			break
		}
	}
	p.Works = works * frame.SectorSize
	return p
}

// identify asks what the disk is, with a frame as long as one that carries so
// many sectors.
func (c Config) identify(ctx context.Context, l link.Link, t initiator.Target, sectors int) (frame.Identify, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	_, data, err := initiator.IssueATA(ctx, l, t, frame.NewATA(frame.OpIdentify, 0, 1), make([]byte, sectors*frame.SectorSize), 1)
	if err != nil {
		return frame.Identify{}, err
	}
	return frame.ParseIdentify(data)
}

// through reports whether frames with so many sectors get there and back: a
// padded IDENTIFY, and a read. A disk that refuses the read has answered, but
// says nothing about the way back.
func (c Config) through(ctx context.Context, l link.Link, t initiator.Target, sectors int, id frame.Identify) bool {
	if _, err := c.identify(ctx, l, t, sectors); err != nil {
		return false
	}
	op := frame.OpReadExt
	if id.LBA28 {
		op = frame.OpRead
	}
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	_, _, err := initiator.IssueATA(ctx, l, t, frame.NewATA(op, 0, uint8(min(uint64(sectors), id.Sectors))), nil, sectors)
	return !errors.Is(err, initiator.ErrNoAnswer)
}

// devices puts together what the interfaces have found.
func devices(all []seen) []Device {
	byAddr := map[frame.Addr]*Device{}
	macs := map[frame.Addr]map[frame.MAC]bool{}
	mtus := map[string]int{}
	for _, s := range all {
		mtus[s.Name] = s.MTU
		for i, t := range s.targets {
			d := byAddr[t.Addr]
			if d == nil {
				d = &Device{Addr: t.Addr, Problems: []string{}}
				byAddr[t.Addr], macs[t.Addr] = d, map[frame.MAC]bool{}
			}
			macs[t.Addr][t.MAC] = true
			d.MACs = len(macs[t.Addr])
			d.Payload = max(d.Payload, t.MaxSectors*frame.SectorSize)
			if !slices.Contains(d.Local, s.Name) {
				d.Local = append(d.Local, s.Name)
			}
			d.Paths = append(d.Paths, s.paths[i])
		}
	}
	addrs := slices.SortedFunc(maps.Keys(byAddr), func(a, b frame.Addr) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	sorted := []Device{}
	for _, addr := range addrs {
		d := byAddr[addr]
		d.diagnose(mtus)
		sorted = append(sorted, *d)
	}
	return sorted
}

// diagnose says what is wrong with the device's paths.
func (d *Device) diagnose(mtus map[string]int) {
	add := func(format string, args ...any) { d.Problems = append(d.Problems, fmt.Sprintf(format, args...)) }
	serials := map[string]bool{}
	for _, p := range d.Paths {
		if p.Serial != "" {
			serials[p.Serial] = true
		}
	}
	if len(serials) > 1 {
		add("different disks have this address (serial numbers %s): give one another address, or data will be lost",
			strings.Join(slices.Sorted(maps.Keys(serials)), ", "))
	}
	distinct := map[int]bool{}
	for _, name := range d.Local {
		distinct[mtus[name]] = true
		if n := frame.SectorsPerFrame(mtus[name]) * frame.SectorSize; n < d.Payload {
			add("the MTU of %s, %d, carries only %d bytes of data: if the network lets longer frames pass, a larger one is faster",
				name, mtus[name], n)
		}
	}
	if len(distinct) > 1 {
		add("its interfaces here (%s) have different MTUs: the smallest holds for all", strings.Join(d.Local, ", "))
	}
	if len(d.Local) != d.MACs && len(serials) <= 1 {
		add("it has %d ports and is seen through %d interfaces here: the side with fewer is the bottleneck", d.MACs, len(d.Local))
	}
	for _, p := range d.Paths {
		switch {
		case p.Serial == "":
			add("%s on %s answers the search, but not the question what it is: it may be overloaded, or masked", p.MAC, p.Interface)
		case p.Works == 0:
			add("no frame with data gets through between %s and %s", p.Interface, p.MAC)
		case p.Works < p.Payload:
			add("only %d of %d bytes get through between %s and %s: something in between, a switch perhaps, has a smaller MTU",
				p.Works, p.Payload, p.Interface, p.MAC)
		}
	}
}
