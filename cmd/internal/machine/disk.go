package machine

import (
	"aoe/frame"

	"github.com/mdlayher/aoe"
)

var ourMAC = frame.MAC{2, 0, 0, 0, 0, 1}

// A disk answers every request at once. It takes what the engine sends and
// nothing else: a target as it should be, of the smallest size.
type disk struct {
	index   int
	data    []byte
	buffers int
}

func (d *disk) mac() frame.MAC   { return frame.MAC{2, 0, 0, 0, 0, byte(2 + d.index)} }
func (d *disk) addr() frame.Addr { return frame.Addr{Shelf: 1, Slot: uint8(1 + d.index)} }

// deviceOf is the number of the disk that a frame is from.
func deviceOf(b []byte) int { return int(b[11]) - 2 }

func (d *disk) identify() frame.Identify {
	return frame.Identify{
		Serial: "machine", Model: "machine", Sectors: uint64(len(d.data) / frame.SectorSize),
		WriteCache: true, Flush: true, FlushExt: true,
	}
}

// answer is the reply to a request, in memory of its own, or nil.
func (d *disk) answer(request []byte) []byte {
	h, arg, err := frame.Parse(request)
	if err != nil || h.IsResponse() || !h.Addr.Covers(d.addr()) {
		return nil
	}
	b := append([]byte(nil), request...)
	frame.Reply(b, d.mac(), d.addr())
	switch h.Command {
	case aoe.CommandQueryConfigInformation:
		c := frame.Config{BufferCount: uint16(d.buffers), Firmware: 1, SectorCount: 8}
		return frame.Pad(c.Append(b[:frame.HeaderLen]))
	case aoe.CommandIssueATACommand:
		return d.ata(b, arg)
	}
	return nil
}

func (d *disk) ata(b, arg []byte) []byte {
	a, data, err := frame.ParseATA(arg)
	if err != nil {
		return nil
	}
	if a.Op == frame.OpIdentify {
		frame.PutResult(b, frame.StatusDRDY, 0, 0)
		return d.identify().Append(b[:frame.ATADataOffset])
	}
	first, n := a.Address(), uint64(a.Count)
	if n == 0 || (first+n)*frame.SectorSize > uint64(len(d.data)) || !a.Op.IsRead() && !a.Op.IsWrite() {
		frame.PutResult(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorABRT, a.Count)
		return frame.Pad(b)
	}
	sectors := d.data[first*frame.SectorSize:][:n*frame.SectorSize]
	frame.PutResult(b, frame.StatusDRDY, 0, 0)
	if a.Op.IsRead() {
		return append(b[:frame.ATADataOffset], sectors...)
	}
	if data, err = frame.Data(data, int(n)); err != nil {
		return nil
	}
	copy(sectors, data)
	return frame.Pad(b[:frame.ATADataOffset])
}
