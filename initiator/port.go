package initiator

import (
	"runtime"
	"sync/atomic"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/reserve"
)

// A Port is a port in addition to Config.Link.
type Port struct {
	// Link is what Config.Link is.
	Link link.Link
	// Tags is what Config.Tags is, for this port. Nil tells nobody.
	Tags Tags
}

// ports are all ports, the one of Config.Link first.
func (c Config) ports() []Port { return append([]Port{{c.Link, c.Tags}}, c.Others...) }

// A port is a port in use: a link, and the buffers that it receives into. The loop
// itself receives from the first. For each of the others a goroutine does
// that, because a loop can wait for one link only, and lends the loop what it
// received until that is looked through: the stock is always in the hands
// of one of the two.
type port struct {
	index   int
	link    link.Link
	stock   *reserve.Stock
	out     [][]byte
	linkGen uint32

	// Of the ports that have a goroutine.
	frames   [][]byte
	received int
	err      error
	full     atomic.Bool   // the loop has the stock
	emptied  chan struct{} // a token gives it back
	stop     atomic.Bool
	failed   bool // the link is of no more use; the loop's
}

// pumpPatience is how long a pump waits for frames before it looks whether the
// stock should have another size.
const pumpPatience = time.Second

// pump receives for the loop.
func (d *Disk) pump(p *port) {
	defer d.pumps.Done()
	if d.cfg.OnThread != nil {
		runtime.LockOSThread() // and never unlocked, see run
		d.cfg.OnThread()
	}
	for !p.stop.Load() {
		p.frames = p.stock.Frames()
		generation := p.link.State().Generation
		p.received, p.err = p.link.Recv(p.frames, pumpPatience)
		if p.received == 0 && p.err == nil && p.link.State().Generation == generation {
			continue
		}
		p.full.Store(true)
		d.inbox.notify()
		<-p.emptied
		if p.err != nil {
			return
		}
	}
}

// receivePumped looks through what the pumps have received. It follows taking the
// inbox in, whose flag tells of both.
func (d *Disk) receivePumped(now time.Duration) {
	for _, p := range d.ports[1:] {
		if !p.full.Load() {
			continue
		}
		for i := range p.received {
			d.receive(now, p, i, p.frames[i])
		}
		if p.err != nil && !p.failed {
			p.failed = true
			d.engine.LinkChanged(now, p.index, p.link.State().MAC, false, 0)
		}
		p.full.Store(false)
		p.emptied <- struct{}{}
	}
}

// stopPumps ends the pumps and waits for them.
func (d *Disk) stopPumps() {
	for _, p := range d.ports[1:] {
		p.stop.Store(true)
		p.link.Wake()
		select {
		case p.emptied <- struct{}{}: // it may be waiting
		default:
		}
	}
	d.pumps.Wait()
}

// lookAtPorts tells the engine of ports that have changed.
func (d *Disk) lookAtPorts(now time.Duration) {
	for _, p := range d.ports {
		s := p.link.State()
		if s.Generation != p.linkGen && !p.failed {
			p.linkGen = s.Generation
			d.engine.LinkChanged(now, p.index, s.MAC, s.Up, payloadSectors(frame.SectorsPerFrame(s.MTU)))
		}
	}
}
