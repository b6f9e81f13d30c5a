package initiator

import (
	"runtime"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
)

// run is the disk's loop: the one goroutine that owns the engine, receives and
// sends. In each turn it receives a batch, lets the engine look at every frame,
// calls back for what has ended, takes in what was submitted, by the callbacks
// too, and sends everything in one batch.
func (d *Disk) run() {
	defer d.farewell() // last: a companion may stay on the thread for as long as it likes
	defer close(d.loopEnded)
	defer d.stopPumps()
	first := d.ports[0]
	if d.cfg.Pulse != nil {
		defer d.cfg.Pulse.Stop()
	}
	switch {
	case d.cfg.OnThread != nil:
		// Never unlocked: what was done to the thread must not be
		// inherited by whoever would run on it next.
		runtime.LockOSThread()
		d.cfg.OnThread()
	case d.cfg.LockThread:
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	for {
		frames := first.stock.Frames()
		if len(frames) != d.stocked {
			d.regimeChanged(len(frames))
		}
		n, err := first.link.Recv(frames, d.sleep())
		d.inbox.asleep.Store(false)
		now := d.now()
		for i := range n {
			d.receive(now, first, i, frames[i])
		}
		if err != nil {
			d.linkErr = err
			d.engine.FailAll(now, engine.Closed)
			d.shutDown(now)
			return
		}
		if d.turn(now) {
			d.shutDown(now)
			return
		}
	}
}

// now is the engine's clock.
func (d *Disk) now() time.Duration { return time.Since(d.start) }

// sleep is how long Recv may wait.
func (d *Disk) sleep() time.Duration {
	deadline := d.engine.Deadline()
	if !d.inbox.goingToSleep() {
		return 0
	}
	wait := time.Duration(-1)
	if deadline != engine.Never {
		wait = max(deadline-d.now(), 0)
	}
	if d.cfg.Pulse != nil && (wait < 0 || wait > d.cfg.Pulse.Interval()) {
		wait = d.cfg.Pulse.Interval()
	}
	return wait
}

// receive keeps a frame by exchange if it answers a request, and frees it at
// once if not (I5). What answers only a part of a frame is copied.
func (d *Disk) receive(now time.Duration, p *port, slot int, b []byte) {
	r, i := d.engine.Receive(now, p.index, b)
	if r == nil {
		p.stock.Drop(slot)
		return
	}
	f, grant := &r.Frames[i], d.requests[r.ID].grant
	if f.Count == f.Sectors {
		p.stock.Exchange(slot, grant, receiveIndex(i))
		return
	}
	if r.Kind == engine.Read { // the path carries less than a frame: an answer of several
		at := frame.ATADataOffset + int(f.From)*frame.SectorSize
		copy(grant.Buffers()[receiveIndex(i)].Data[at:], b[frame.ATADataOffset:][:int(f.Count)*frame.SectorSize])
	}
	p.stock.Drop(slot)
}

// turn does all but receiving. It reports whether the disk is being closed.
func (d *Disk) turn(now time.Duration) (closing bool) {
	d.lookAtPorts(now)
	d.callBack()
	d.accompany()
	c := d.inbox.take()
	d.receivePumped(now)
	d.takeIn(now, c)
	d.engine.Advance(now)
	d.callBack()
	if d.called {
		d.accompany()
	}
	if s := d.engine.Sectors(); s != d.sectors.Load() {
		d.sectors.Store(s)
	}
	d.send(now)
	if d.cfg.Pulse != nil {
		// A reserve in crunch that nobody uses says nothing: it stays so until
		// there is something to do.
		d.cfg.Pulse.Beat(d.stocked < d.plan.Want && !d.engine.Idle())
	}
	if c.snapshot {
		d.takeSnapshot()
	}
	return c.closing
}

// callBack hands out what has ended.
func (d *Disk) callBack() {
	for e := d.engine.Completed(); e != nil; e = d.engine.Completed() {
		r := d.requests[e.ID]
		r.end(r.errorOf(e.Outcome()))
		d.called = true
	}
}

// takeIn starts what was submitted and ends what was abandoned. Submissions
// come first: what is abandoned was submitted before.
func (d *Disk) takeIn(now time.Duration, c contents) {
	d.welcome(c.joined)
	for r := c.first; r != nil; {
		next := r.next
		r.next = nil
		if len(r.request.Frames) == 0 {
			r.end(nil)
		} else {
			d.engine.Submit(now, &r.request)
		}
		r = next
	}
	if c.canceled == nil {
		return
	}
	for r := c.canceled; r != nil; r = r.nextCancel {
		d.engine.Cancel(now, &r.request)
	}
	d.callBack()
	for r := c.canceled; r != nil; {
		next := r.nextCancel
		r.nextCancel = nil
		if !r.finished {
			panic("initiator: abandoned request did not end")
		}
		r.Release()
		r = next
	}
}

// send sends what the engine has to send. The link never blocks; what it cannot
// send is lost, and sent again by the engine's timers.
func (d *Disk) send(now time.Duration) {
	for _, p := range d.ports {
		for n := d.engine.Drain(now, p.index, p.out); n > 0; n = d.engine.Drain(now, p.index, p.out) {
			// An error means that the link is of no more use: Recv will say so.
			_, _ = p.link.Send(p.out[:n])
		}
	}
}

// regimeChanged: when memory is short the stock is small, and no more answers
// are asked for than it holds.
func (d *Disk) regimeChanged(stocked int) {
	d.stocked = stocked
	if stocked < d.plan.Want {
		d.engine.LimitWindow(stocked)
	} else {
		d.engine.LimitWindow(0)
	}
}

// shutDown ends everything that is still pending. Callbacks may submit more,
// which fails too; none can be admitted any more, so that this ends.
func (d *Disk) shutDown(now time.Duration) {
	d.closeOnce.Do(func() { close(d.closed) }) // when the link has failed
	for {
		d.engine.FailAll(now, engine.Closed)
		d.callBack()
		d.takeIn(now, d.inbox.take())
		d.engine.FailAll(now, engine.Closed)
		d.callBack()
		if d.inbox.end() {
			d.takeSnapshot()
			return
		}
	}
}
