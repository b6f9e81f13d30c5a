package target

import (
	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// edit carries out a request that sets something: at once, or, where it is to
// be kept, by a worker. Nothing is set by a request to whom it may concern (H8):
// one frame would take every disk on the segment. Nor is it by those whom the
// disk does not let edit (H22).
func (p *port) edit(d *disk, slot *[]byte, h frame.Header, argument int) []byte {
	b := *slot
	if h.Addr.IsWildcard() || !d.mayEdit(h.Src) {
		return p.refuse(d, b, argument, aoe.ErrorBadArgumentParameter)
	}
	r := &p.inline
	r.claim = claim{
		port: p, mac: p.state.MAC, src: h.Src, tag: h.Tag,
		n: len(b), what: doEdit, sectors: uint8(p.sectors),
	}
	if d.keeper == nil {
		return d.edit(&r.claim, b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return nil
	}
	if d.copyLocked(&r.claim, b) {
		d.counts.Copies++
		return nil
	}
	ready := d.admitLocked(r)
	held := d.holdLocked(r, slot)
	if held == nil {
		d.doneLocked(r)
		return nil
	}
	d.replaceLocked(r, held)
	if ready {
		d.queueLocked(held)
	}
	return nil
}

// edit sets what the frame b asks to be set, and makes it the answer. With a
// keeper edits of a disk are carried out one at a time; without one, two ports
// may meet here, and the later tries again.
func (d *disk) edit(c *claim, b []byte) []byte {
	h, _, err := frame.Parse(b)
	if err != nil {
		panic("target: an edit that is not a frame")
	}
	var result editResult
	set, err := d.amend(func(cur *Settings) (next *Settings) {
		next, result = cur.edited(h, b[frame.HeaderLen:])
		return next
	})
	if err != nil {
		return refusal(b, c.mac, d.addr, 0, aoe.ErrorDeviceUnavailable)
	}
	return d.answerEdit(c, b, h, set, result)
}

// amend sets what f makes of the settings, and keeps it first (H24). It returns
// the settings as they are then. It may call f more than once.
func (d *disk) amend(f func(*Settings) *Settings) (*Settings, error) {
	if d.keeper != nil {
		d.editing.Lock()
		defer d.editing.Unlock()
	}
	for {
		cur := d.settingsNow()
		next := f(cur)
		if next != cur && d.keeper != nil {
			if err := d.keeper.Keep(d.addr, *next); err != nil {
				d.noteKeep(err)
				return cur, err
			}
		}
		if d.replaceSettings(cur, next) {
			return next, nil
		}
	}
}

// replaceSettings makes next the settings if they are still cur.
func (d *disk) replaceSettings(cur, next *Settings) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settings != cur {
		return false
	}
	d.settings = next
	d.counts.Edits++
	return true
}

func (d *disk) noteKeep(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.KeepErrors++
	d.broken = err
}

// An editResult is what the answer to an edit says beside the settings.
type editResult struct {
	code aoe.Error
	merr aoe.MACMaskError
	at   int // the directive that failed
}

// edited is what s becomes by the request with header h and argument arg, which
// were looked at before.
func (s *Settings) edited(h frame.Header, arg []byte) (*Settings, editResult) {
	switch h.Command {
	case aoe.CommandQueryConfigInformation:
		if c, err := frame.ParseConfig(arg); err == nil {
			next, code := s.setConfig(c)
			return next, editResult{code: code}
		}
	case aoe.CommandMACMaskList:
		if m, err := frame.ParseMask(arg); err == nil {
			next, merr, at := s.editMask(m)
			return next, editResult{merr: merr, at: at}
		}
	case aoe.CommandReserveRelease:
		if r, err := frame.ParseReserve(arg); err == nil {
			next, code := s.setReserve(h.Src, r)
			return next, editResult{code: code}
		}
	}
	panic("target: an edit that was not looked at before")
}

// answerEdit makes of the request b the answer: the settings as they are now,
// with the error if there is one.
func (d *disk) answerEdit(c *claim, b []byte, h frame.Header, set *Settings, r editResult) []byte {
	arg := b[frame.HeaderLen:]
	if r.code != 0 {
		frame.ReplyError(b, c.mac, d.addr, r.code)
	} else {
		frame.Reply(b, c.mac, d.addr)
	}
	header := full(b)[:frame.HeaderLen]
	switch h.Command {
	case aoe.CommandQueryConfigInformation:
		return d.appendConfig(header, set, int(c.sectors), aoe.ConfigCommand(arg[5]&0x0f))
	case aoe.CommandReserveRelease:
		return appendReserve(header, set, aoe.ReserveReleaseCommand(arg[0]))
	}
	if r.merr != 0 {
		return frame.Pad(frame.Mask{Sub: aoe.MACMaskCommandEdit, Error: r.merr, Count: uint8(r.at)}.Append(header))
	}
	return appendMask(header, set, aoe.MACMaskCommandEdit)
}
