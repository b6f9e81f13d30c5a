package fabric

import (
	"encoding/binary"
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// diskSectors is the size of every disk.
const diskSectors = 1 << 30

// A target is a disk without contents: a sector that is read holds its number.
type target struct {
	Target
	f     *fabric
	index int
	held  int           // frames
	busy  time.Duration // until then
}

func (t *target) addr() frame.Addr {
	return frame.Addr{Shelf: uint16(1 + t.index/250), Slot: uint8(t.index % 250)}
}

// identity is what IDENTIFY tells of every disk.
func identity() frame.Identify {
	return frame.Identify{Serial: "fabric", Model: "fabric", Sectors: diskSectors}
}

// arrive: a frame has come off the wire.
func (t *target) arrive(b []byte) {
	if t.DiesAt > 0 && t.f.now >= t.DiesAt {
		return
	}
	if t.held >= t.Buffers {
		t.f.result.TargetLost++
		return
	}
	t.held++
	t.busy = max(t.busy, t.f.now) + t.Service/2 + time.Duration(t.f.rng.Int64N(int64(t.Service)))
	t.f.at(t.busy, func() {
		if reply := t.answer(b); reply != nil {
			t.f.send(t.f.portOf(t.index), reply, func() { t.held-- })
		} else {
			t.held--
		}
	})
}

// answer is the reply to a request, or nil.
func (t *target) answer(request []byte) []byte {
	h, arg, err := frame.Parse(request)
	if err != nil || h.IsResponse() || !h.Addr.Covers(t.addr()) {
		return nil
	}
	b := append(make([]byte, 0, frame.ATADataOffset+frameSectors*frame.SectorSize), request[:min(len(request), frame.ATADataOffset)]...)
	frame.Reply(b, macOf(t.f.portOf(t.index)), t.addr())
	switch h.Command {
	case aoe.CommandQueryConfigInformation:
		c := frame.Config{BufferCount: uint16(t.Advertised), Firmware: 1, SectorCount: frameSectors}
		return frame.Pad(c.Append(b[:frame.HeaderLen]))
	case aoe.CommandIssueATACommand:
		a, _, err := frame.ParseATA(arg)
		if err != nil {
			return nil
		}
		frame.PutResult(b, frame.StatusDRDY, 0, 0)
		switch {
		case a.Op == frame.OpIdentify:
			return identity().Append(b[:frame.ATADataOffset])
		case a.Op.IsRead():
			b = append(b, make([]byte, int(a.Count)*frame.SectorSize)...)
			for i := range uint64(a.Count) {
				binary.BigEndian.PutUint64(b[frame.ATADataOffset+int(i)*frame.SectorSize:], a.Address()+i+t.Lie)
			}
			return b
		}
		return frame.Pad(b)
	}
	return nil
}
