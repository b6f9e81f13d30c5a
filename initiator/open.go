package initiator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// OpenTime is how long Open looks for the disk if its context has no deadline.
const OpenTime = 10 * time.Second

// openGrace is how long Open waits for a second target at the same address: a
// busy one takes longer than a round trip.
const openGrace = 100 * time.Millisecond

// Open finds the disk, pins its identity, proves which frames get through to it,
// makes everything that it will ever need, and starts its loop.
func Open(ctx context.Context, cfg Config) (*Disk, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Link == nil {
		return nil, errors.New("initiator: Config.Link is needed: see package aoe/frame/link/open")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, OpenTime)
		defer cancel()
	}
	f := finder{cfg: cfg}
	if err := f.everywhere(ctx); err != nil {
		return nil, err
	}
	return newDisk(cfg, f)
}

// look finds the disk. One that is asked for by its serial number is looked for
// again when only others with its address have answered; if then nobody does,
// or there is no more time, the others are what there is to tell of.
func (a *asker) look(ctx context.Context, cfg Config) ([]Target, frame.Identify, []byte, error) {
	var replaced error
	for range proofTries {
		found, err := a.find(ctx, cfg.Addr, openGrace)
		if err != nil {
			return nil, frame.Identify{}, nil, cmp.Or(replaced, err)
		}
		t, id, data, err := a.choose(ctx, cfg, found)
		switch {
		case errors.Is(err, ErrReplaced):
			replaced = err
		case err != nil && replaced != nil:
			return nil, id, nil, replaced
		default:
			return t, id, data, err
		}
	}
	return nil, frame.Identify{}, nil, replaced
}

// choose identifies every target that answered, and returns those with the disk.
// Several ports of one target show the same disk; two disks with the same address
// are trouble (H15).
func (a *asker) choose(ctx context.Context, cfg Config, found []Target) (targets []Target, id frame.Identify, data []byte, err error) {
	tries := 0 // as long as there is time
	if len(found) > 1 {
		tries = proofTries // one of several may be deaf
	}
	for _, t := range found {
		i, d, err := a.identify(ctx, t, 0, tries)
		switch {
		case errors.Is(err, ErrNoAnswer) && tries > 0 && ctx.Err() == nil:
			continue
		case err != nil:
			return nil, id, nil, err
		case cfg.Serial != "" && i.Serial != cfg.Serial:
			continue
		case data != nil && i.Serial != id.Serial:
			return nil, id, nil, fmt.Errorf("initiator: %v: %w: %v has serial number %q, %v has %q: say which in Config.Serial",
				cfg.Addr, ErrAmbiguous, targets[0].MAC, id.Serial, t.MAC, i.Serial)
		case data == nil:
			id, data = i, d
		}
		targets = append(targets, t)
	}
	switch {
	case data == nil && cfg.Serial == "":
		return nil, id, nil, fmt.Errorf("initiator: %v: %w to IDENTIFY, though %d to query config", cfg.Addr, ErrNoAnswer, len(found))
	case data == nil:
		return nil, id, nil, fmt.Errorf("initiator: %v: %w: none of %d that answer has the serial number %q",
			cfg.Addr, ErrReplaced, len(found), cfg.Serial)
	case id.Sectors == 0:
		return nil, id, nil, fmt.Errorf("initiator: %v: the disk says that it has no sectors", cfg.Addr)
	}
	return targets, id, data, nil
}

// proofTries is how often a frame of each size is sent: with 5 % of all frames
// lost, all copies or answers are lost once in a million times.
const proofTries = 6

// provePayload finds how many sectors really get through to the target in a
// frame, by an IDENTIFY padded to that length, from the most that the port and
// the target allow down (H15): a switch in between may have a smaller MTU. It
// returns which target it was that answered, too.
func (a *asker) provePayload(ctx context.Context, cfg Config, t Target, serial string) (int, frame.Instance, error) {
	mtu := a.link.State().MTU
	most := payloadSectors(min(frame.SectorsPerFrame(mtu), t.MaxSectors))
	if most < 1 {
		return 0, 0, fmt.Errorf("initiator: %v: no sector fits a frame: MTU %d, target's most %d sectors", cfg.Addr, mtu, t.MaxSectors)
	}
	for n := most; n >= 1; n = payloadSectors(n / 2) {
		id, _, err := a.identify(ctx, t, frame.ATADataOffset+n*frame.SectorSize, proofTries)
		switch {
		case err == nil && id.Serial == serial:
			return n, id.Instance, nil
		case err == nil:
			return 0, 0, fmt.Errorf("initiator: %v: %w: serial number %q, and %q a moment ago", cfg.Addr, ErrReplaced, id.Serial, serial)
		case !errors.Is(err, ErrNoAnswer) || ctx.Err() != nil:
			return 0, 0, err
		}
	}
	return 0, 0, fmt.Errorf("initiator: %v: %w to IDENTIFY in a frame of more than 60 bytes, though to shorter ones: look at the switch", cfg.Addr, ErrNoAnswer)
}

// newDisk makes everything, and starts the loop last.
func newDisk(cfg Config, f finder) (*Disk, error) {
	mtu := 0
	for _, p := range cfg.ports() {
		mtu = max(mtu, p.Link.State().MTU)
	}
	plan, err := cfg.Plan(mtu, f.payload)
	if err != nil {
		return nil, err
	}
	plan.Config.FailNormal = cfg.FailNormal
	ec := cfg.engineConfig()
	ec.Paths, ec.Buffers = f.paths, f.target.BufferCount
	ec.Identity = engine.ReadIdentity(f.data)
	ec.Identity.Instance = f.instance
	ec.FrameLen = frame.ATADataOffset + f.payload*frame.SectorSize
	e, err := engine.New(ec)
	if err != nil {
		return nil, err
	}
	r, err := reserve.New(plan.Config)
	if err != nil {
		return nil, err
	}
	d := &Disk{
		cfg: cfg, target: f.target, identify: f.identify, payload: f.payload, plan: plan, flushOp: flushOp(f.identify),
		start: time.Now(), reserve: r, engine: e, stocked: plan.Want,
		idle: make(chan *Request, cfg.Depth), inbox: inbox{link: cfg.Link},
		loopEnded: make(chan struct{}), closed: make(chan struct{}), snapshotReady: make(chan struct{}, 1),
	}
	for i, p := range cfg.ports() {
		state := p.Link.State()
		d.ports = append(d.ports, &port{
			index: i, link: p.Link, stock: r.NewStock(plan.Want, plan.Stock), out: make([][]byte, cfg.Window+engine.MaxPaths),
			linkGen: f.generations[i], emptied: make(chan struct{}, 1),
		})
		if !state.Up {
			d.ports[i].linkGen-- // the loop takes notice at once
		}
	}
	d.sectors.Store(f.identify.Sectors)
	frames := framesFor(cfg.MaxRequest, f.payload)
	for i := range cfg.Depth {
		req := newRequest(d, uint32(i), frames, r.NewGrant(plan.Claim))
		d.requests = append(d.requests, req)
		d.idle <- req
	}
	r.Seal()
	e.Start(0)
	for _, p := range d.ports[1:] {
		d.pumps.Add(1)
		go d.pump(p) // ends with run
	}
	go d.run() // ends in Close
	return d, nil
}

// flushOp is the command that flushes the disk's cache, or 0 if it has none.
func flushOp(id frame.Identify) frame.Opcode {
	switch {
	case id.FlushExt && !id.LBA28:
		return frame.OpFlushExt
	case id.Flush:
		return frame.OpFlush
	}
	return 0
}
