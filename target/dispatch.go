package target

import (
	"errors"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/target/store"
)

// Lengths of the arguments of each command, in bytes: what of a request is
// echoed when it is refused.
const (
	ataArgument     = frame.ATADataOffset - frame.HeaderLen
	configArgument  = frame.ConfigStringOffset - frame.HeaderLen
	maskArgument    = frame.MaskDirectivesOffset - frame.HeaderLen
	reserveArgument = frame.ReserveMACsOffset - frame.HeaderLen
)

// request puts the request in *slot to d. It returns the answer, which is in
// the same buffer, or nil: because there is none, or it comes later: with the rest of
// a streak, or from a worker, to which the buffer was given in exchange for another.
func (p *port) request(d *disk, slot *[]byte, h frame.Header) []byte {
	if h.Version != frame.Version {
		if d.settingsNow().masks(h.Src) {
			return p.masked(d)
		}
		return p.refuse(d, *slot, 0, aoe.ErrorUnsupportedVersion)
	}
	switch h.Command {
	case aoe.CommandIssueATACommand:
		return p.ata(d, slot, h)
	case aoe.CommandQueryConfigInformation:
		return p.query(d, slot, h)
	case aoe.CommandMACMaskList:
		return p.mask(d, slot, h)
	case aoe.CommandReserveRelease:
		return p.reserve(d, slot, h)
	}
	if d.settingsNow().masks(h.Src) {
		return p.masked(d)
	}
	return p.refuse(d, *slot, 0, aoe.ErrorUnrecognizedCommandCode)
}

// masked is silence.
func (p *port) masked(d *disk) []byte {
	d.mu.Lock()
	d.counts.Masked++
	d.mu.Unlock()
	return nil
}

// refuse answers the request b with an error of AoE. Of the argument, as much is
// echoed as there is, without what follows it.
func (p *port) refuse(d *disk, b []byte, argument int, code aoe.Error) []byte {
	d.mu.Lock()
	d.counts.Refused++
	d.mu.Unlock()
	return refusal(b, p.state.MAC, d.addr, argument, code)
}

func refusal(b []byte, mac frame.MAC, own frame.Addr, argument int, code aoe.Error) []byte {
	b = b[:min(len(b), frame.HeaderLen+argument)]
	frame.ReplyError(b, mac, own, code)
	return frame.Pad(b)
}

// A ruling is what becomes of an ATA request.
type ruling uint8

const (
	silent  ruling = iota // nothing is answered, or the answer is under way
	refused               // with an error of AoE
	decided               // with an outcome of ATA
	run                   // here and now
	wait                  // it is held
)

// ata serves command 0. What the request asks is found out first, without the
// disk; then, in one turn with the lock, whether it may be done, and when.
func (p *port) ata(d *disk, slot *[]byte, h frame.Header) []byte {
	b := *slot
	c := claim{port: p, mac: p.state.MAC, src: h.Src, tag: h.Tag, n: len(b), arrived: p.now}
	code := c.examine(b, h, p.sectors)
	c.digest = d.recent.digest(&c, b)
	joins := code == 0 && d.mayJoin(&c, h.Addr)
	if !joins || !p.streak.goesOn(d, &c) {
		p.endStreak()
	}
	r := p.streak.next()
	r.claim = c

	d.mu.Lock()
	what, code, out := d.ruleLocked(r, slot, code)
	if what == refused {
		d.counts.Refused++
	}
	if what == decided && r.what == doIdentify && out == succeeded {
		b = r.answerIdentify(b, d.addr, &d.identify)
	}
	d.mu.Unlock()

	switch what {
	case refused:
		return refusal(b, r.mac, d.addr, ataArgument, code)
	case decided:
		if r.what == doIdentify {
			return b
		}
		return d.answerATA(&r.claim, full(b), out)
	case run:
		if joins {
			p.streak.join(d, slot)
			return nil
		}
		return p.run(d, r, slot)
	}
	return nil
}

// ruleLocked decides on a request that was examined with the result code. The
// order is that of AoEr11: those not on the mask are not there, those not on the
// reserve list are told so, and only then is looked at what they want.
func (d *disk) ruleLocked(r *request, slot *[]byte, code aoe.Error) (ruling, aoe.Error, outcome) {
	c := &r.claim
	switch {
	case d.closing:
		return silent, 0, outcome{}
	case d.settings.masks(c.src):
		d.counts.Masked++
		return silent, 0, outcome{}
	case d.settings.reserves(c.src) && c.ata.Op != frame.OpIdentify:
		return refused, aoe.ErrorTargetIsReserved, outcome{}
	case code != 0:
		return refused, code, outcome{}
	case c.what >= doIdentify:
		return d.decideLocked(c)
	case (c.changes || c.what == doFlush) && d.failed != nil:
		return decided, 0, deviceFailed
	case c.changes && d.readOnly:
		return decided, 0, aborted
	case c.to > d.sectors:
		return decided, 0, notFound
	case c.what == doTrim && !d.trim:
		return decided, 0, aborted
	case d.copyLocked(c, *slot):
		d.counts.Copies++
		return silent, 0, outcome{}
	}
	if c.changes {
		if how, known := d.recent.knowsLocked(c); known {
			d.counts.LateCopies++
			return decided, 0, how
		}
	}
	if d.admitLocked(r) {
		return run, 0, outcome{}
	}
	d.counts.Waited++
	if h := d.holdLocked(r, slot); h != nil {
		d.replaceLocked(r, h)
		return wait, 0, outcome{}
	}
	d.doneLocked(r)
	return silent, 0, outcome{}
}

// decideLocked answers what needs no store.
func (d *disk) decideLocked(c *claim) (ruling, aoe.Error, outcome) {
	switch c.what {
	case doIdentify:
		d.counts.Identifies++
		return decided, 0, succeeded
	case doPower:
		return decided, 0, succeeded
	}
	d.counts.Aborted++
	return decided, 0, aborted
}

// run carries out an active request if that needs no waiting, and hands it to
// the workers if it does.
func (p *port) run(d *disk, r *request, slot *[]byte) []byte {
	b := full(*slot)
	atSync, err := d.now(&r.claim, b)
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, store.ErrWouldBlock) {
		if h := d.holdLocked(r, slot); h != nil {
			d.replaceLocked(r, h)
			d.queueLocked(h)
			return nil
		}
		d.doneLocked(r)
		d.drainedLocked()
		return nil
	}
	out := d.resultLocked(&r.claim, r.arrived, atSync, err)
	d.doneLocked(r)
	d.drainedLocked()
	return d.answerATA(&r.claim, b, out)
}

// now does what c asks if the store need not wait for it. atSync tells that it
// was the sync that failed.
func (d *disk) now(c *claim, b []byte) (atSync bool, err error) {
	if d.prompt == nil {
		return false, store.ErrWouldBlock
	}
	off := int64(c.from) * frame.SectorSize
	switch c.what {
	case doRead:
		return false, d.prompt.ReadNow(c.data(b), off)
	case doWrite:
		if err := d.prompt.WriteNow(c.data(b), off); err != nil || !d.mode.answersSynced() {
			return false, err
		}
		return true, d.prompt.SyncNow()
	case doFlush:
		return true, d.prompt.SyncNow()
	}
	return false, store.ErrWouldBlock
}
