package target

import (
	"bytes"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// query serves command 1 (AoEr11, section 3.2). A test is answered only if its
// string is the disk's, a prefix test only if it begins the disk's: otherwise
// the answer is silence (H13).
func (p *port) query(d *disk, slot *[]byte, h frame.Header) []byte {
	b := *slot
	set := d.settingsNow()
	if set.masks(h.Src) {
		return p.masked(d)
	}
	c, err := frame.ParseConfig(b[frame.HeaderLen:])
	if err != nil {
		return p.refuse(d, b, configArgument, aoe.ErrorBadArgumentParameter)
	}
	match := true
	switch c.Sub {
	case aoe.ConfigCommandRead:
	case aoe.ConfigCommandTest:
		match = bytes.Equal(set.ConfigString, c.String)
	case aoe.ConfigCommandTestPrefix:
		match = bytes.HasPrefix(set.ConfigString, c.String)
	case aoe.ConfigCommandSet, aoe.ConfigCommandForceSet:
		return p.edit(d, slot, h, configArgument)
	default:
		return p.refuse(d, b, configArgument, aoe.ErrorBadArgumentParameter)
	}
	d.mu.Lock()
	d.counts.Queries++
	d.mu.Unlock()
	if !match {
		return nil
	}
	frame.Reply(b, p.state.MAC, d.addr)
	return d.appendConfig(full(b)[:frame.HeaderLen], set, p.sectors, c.Sub)
}

// appendConfig puts what there is to know of d behind the header b, for an
// initiator on a link whose frames hold sectors.
func (d *disk) appendConfig(b []byte, set *Settings, sectors int, sub aoe.ConfigCommand) []byte {
	return frame.Pad(frame.Config{
		BufferCount: uint16(d.buffers),
		Firmware:    firmwareVersion,
		SectorCount: uint8(sectors),
		Sub:         sub,
		String:      set.ConfigString,
	}.Append(b))
}

// mask serves command 2.
func (p *port) mask(d *disk, slot *[]byte, h frame.Header) []byte {
	b := *slot
	set := d.settingsNow()
	if set.masks(h.Src) {
		return p.masked(d)
	}
	m, err := frame.ParseMask(b[frame.HeaderLen:])
	switch {
	case err != nil:
	case m.Sub == aoe.MACMaskCommandRead:
		frame.Reply(b, p.state.MAC, d.addr)
		return appendMask(full(b)[:frame.HeaderLen], set, m.Sub)
	case m.Sub == aoe.MACMaskCommandEdit:
		return p.edit(d, slot, h, maskArgument)
	}
	return p.refuse(d, b, maskArgument, aoe.ErrorBadArgumentParameter)
}

func appendMask(b []byte, set *Settings, sub aoe.MACMaskCommand) []byte {
	b = frame.Mask{Sub: sub, Count: uint8(len(set.Mask))}.Append(b)
	for _, m := range set.Mask {
		b = frame.MaskDirective{MAC: m}.Append(b)
	}
	return frame.Pad(b)
}

// reserve serves command 3.
func (p *port) reserve(d *disk, slot *[]byte, h frame.Header) []byte {
	b := *slot
	set := d.settingsNow()
	if set.masks(h.Src) {
		return p.masked(d)
	}
	r, err := frame.ParseReserve(b[frame.HeaderLen:])
	switch {
	case err != nil:
	case r.Sub == aoe.ReserveReleaseCommandRead:
		frame.Reply(b, p.state.MAC, d.addr)
		return appendReserve(full(b)[:frame.HeaderLen], set, r.Sub)
	case r.Sub == aoe.ReserveReleaseCommandSet || r.Sub == aoe.ReserveReleaseCommandForceSet:
		return p.edit(d, slot, h, reserveArgument)
	}
	return p.refuse(d, b, reserveArgument, aoe.ErrorBadArgumentParameter)
}

func appendReserve(b []byte, set *Settings, sub aoe.ReserveReleaseCommand) []byte {
	b = frame.Reserve{Sub: sub, Count: uint8(len(set.Reserve))}.Append(b)
	for _, m := range set.Reserve {
		b = m.Append(b)
	}
	return frame.Pad(b)
}
