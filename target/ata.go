package target

import (
	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// examine finds out what the frame b asks of a disk, without the disk, and
// whether it makes sense on its own: an error of AoE if not. most is the number
// of sectors that an answer can hold. After it, c.data is inside the buffer for
// a read, and inside the frame for a write.
func (c *claim) examine(b []byte, h frame.Header, most int) aoe.Error {
	a, rest, err := frame.ParseATA(b[frame.HeaderLen:])
	if err != nil {
		c.what = doAbort
		return aoe.ErrorBadArgumentParameter
	}
	c.ata = a
	// Nothing that changes a disk, or makes it work, is done because somebody
	// wrote to whom it may concern (H8).
	group := h.Addr.IsWildcard() || h.Dst.IsMulticast()
	switch {
	case a.Op.IsRead():
		c.what = doRead
		return c.examineSectors(nil, most)
	case a.Op.IsWrite():
		c.what, c.changes = doWrite, true
		if group {
			return aoe.ErrorBadArgumentParameter
		}
		return c.examineSectors(rest, most)
	case a.Op.IsFlush():
		c.what = doFlush
		if group {
			return aoe.ErrorBadArgumentParameter
		}
	case a.Op == frame.OpTrim:
		c.what, c.changes = doTrim, true
		if group {
			return aoe.ErrorBadArgumentParameter
		}
		return c.examineTrim(rest)
	case a.Op == frame.OpIdentify:
		c.what = doIdentify
	case a.Op == frame.OpCheckPower:
		c.what = doPower
	default:
		// SMART, SET FEATURES and whatever else: a device aborts commands
		// that it does not support (ATA8-ACS).
		c.what = doAbort
	}
	return 0
}

// examineSectors checks the count of a read, or of a write with its data (H9).
// Whether W is set is not looked at: the opcode decides, as vblade should.
func (c *claim) examineSectors(data []byte, most int) aoe.Error {
	n := int(c.ata.Count)
	if n == 0 || n > most {
		return aoe.ErrorBadArgumentParameter
	}
	if c.what == doWrite {
		if _, err := frame.Data(data, n); err != nil {
			return aoe.ErrorBadArgumentParameter
		}
	}
	c.from = c.ata.Address()
	c.to = c.from + uint64(n) // 48 bits and 8: no overflow
	return 0
}

// examineTrim checks the ranges of a DATA SET MANAGEMENT request and bounds them
// by one: what lies between is kept waiting needlessly, which costs less than
// keeping a list of ranges.
func (c *claim) examineTrim(rest []byte) aoe.Error {
	if c.ata.Feature&frame.FeatureTrim == 0 {
		c.what, c.changes = doAbort, false
		return 0
	}
	data, err := frame.Data(rest, int(c.ata.Count))
	if err != nil || c.ata.Count == 0 {
		return aoe.ErrorBadArgumentParameter
	}
	for i := range len(data) / frame.TrimRangeLen {
		r := frame.ParseTrimRange(data, i)
		if r.Sectors == 0 {
			continue
		}
		if to := r.LBA + uint64(r.Sectors); c.to == 0 {
			c.from, c.to = r.LBA, to
		} else {
			c.from, c.to = min(c.from, r.LBA), max(c.to, to)
		}
	}
	return 0
}

// answerIdentify makes of the request b the answer to IDENTIFY. The request may
// have been padded to the size of the MTU, to find out whether that arrives
// (H15); its length does not matter.
func (c *claim) answerIdentify(b []byte, own frame.Addr, identify *[frame.IdentifyLen]byte) []byte {
	b = full(b)
	frame.Reply(b, c.mac, own)
	frame.PutResult(b, frame.StatusDRDY, 0, 0)
	return b[:frame.ATADataOffset+copy(b[frame.ATADataOffset:], identify[:])]
}
