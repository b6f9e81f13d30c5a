package initiatortest

import (
	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// ata executes an ATA command and returns the reply.
func (t *Target) ata(h frame.Header, request, arg []byte) []byte {
	a, data, err := frame.ParseATA(arg)
	if err != nil {
		return t.refuse(request, aoe.ErrorBadArgumentParameter)
	}
	f := &t.cfg.Faults
	if f.AoEError != 0 && a.Op != frame.OpIdentify {
		return t.refuse(request, f.AoEError)
	}
	if (a.Op.IsRead() || a.Op.IsWrite()) && a.Count > t.cfg.MaxSectors {
		return t.refuse(request, aoe.ErrorBadArgumentParameter)
	}
	b := append([]byte(nil), request[:frame.ATADataOffset]...)
	frame.Reply(b, t.cfg.MAC, t.cfg.Addr)
	if (a.Op.IsRead() || a.Op.IsWrite()) && f.ATAError != 0 {
		return t.result(b, frame.StatusDRDY|frame.StatusErr, f.ATAError, a.Count)
	}
	if (a.Op.IsWrite() || a.Op == frame.OpTrim) && t.isCopy(origin{h.Src, h.Tag}) {
		return t.acknowledge(b)
	}
	switch {
	case a.Op == frame.OpIdentify:
		t.seen.Identifies++
		t.seen.LongestIdentify = max(t.seen.LongestIdentify, len(request))
		return t.cfg.identify().Append(t.result(b, frame.StatusDRDY, 0, 0)[:frame.ATADataOffset])
	case a.Op == frame.OpCheckPower:
		return t.result(b, frame.StatusDRDY, 0, 0xff)
	case a.Op.IsFlush() && !t.cfg.NoFlush:
		t.seen.Flushes++
		t.cache.flush()
		return t.verify(b)
	case a.Op == frame.OpTrim && !t.cfg.NoTrim:
		return t.trim(b, a, data)
	case a.Op.IsRead(), a.Op.IsWrite():
		return t.transfer(b, a, data)
	}
	return t.result(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorABRT, 0)
}

// result ends the reply b without data.
func (t *Target) result(b []byte, status, register, remaining uint8) []byte {
	if t.cfg.Faults.BadCount {
		remaining = 0xa5
	}
	frame.PutResult(b, status, register, remaining)
	return frame.Pad(b)
}

// transfer reads or writes sectors.
func (t *Target) transfer(b []byte, a frame.ATA, data []byte) []byte {
	lba, n := a.Address(), int(a.Count)
	if n == 0 || lba+uint64(n) > t.cfg.Sectors || t.cfg.LBA28 && a.Op.IsExt() {
		return t.result(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorIDNF, a.Count)
	}
	t.seen.Sectors[a.Count]++
	disk := t.data[lba*frame.SectorSize:][:n*frame.SectorSize]
	if a.Op.IsRead() {
		t.seen.Reads++
		b = t.result(b, frame.StatusDRDY, 0, 0)[:frame.ATADataOffset]
		return append(b, disk[:len(disk)-t.cfg.Faults.Truncate]...)
	}
	data, err := frame.Data(data, n)
	if err != nil {
		return t.result(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorABRT, a.Count)
	}
	t.seen.Writes++
	t.cache.change(t, lba, uint64(n))
	copy(disk, data)
	return t.acknowledge(b)
}

// trim zeros the ranges of a DATA SET MANAGEMENT request.
func (t *Target) trim(b []byte, a frame.ATA, data []byte) []byte {
	data, err := frame.Data(data, int(a.Count))
	if err != nil || a.Feature != frame.FeatureTrim {
		return t.result(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorABRT, 0)
	}
	t.seen.Trims++
	for i := range len(data) / frame.TrimRangeLen {
		r := frame.ParseTrimRange(data, i)
		if r.LBA+uint64(r.Sectors) > t.cfg.Sectors {
			return t.result(b, frame.StatusDRDY|frame.StatusErr, frame.ErrorIDNF, 0)
		}
		t.cache.change(t, r.LBA, uint64(r.Sectors))
		clear(t.data[r.LBA*frame.SectorSize:][:int(r.Sectors)*frame.SectorSize])
	}
	return t.acknowledge(b)
}
