package initiator

import (
	"aoe/frame"
	"aoe/initiator/engine"
)

// sectorsPerPage is how many sectors must stay together (H21).
const sectorsPerPage = pageBytes / frame.SectorSize

// payloadSectors is how many of the sectors that fit a frame are used: a
// multiple of 8 if there are 8, so that pages do not straddle frames (H21:
// an MTU of 9000 has room for 17); otherwise a power of two, so that a page
// is a whole number of frames.
func payloadSectors(fit int) int {
	if fit >= sectorsPerPage {
		return fit / sectorsPerPage * sectorsPerPage
	}
	n := 0
	for p := 1; p <= fit; p *= 2 {
		n = p
	}
	return n
}

// framesFor is the most frames that bytes are split into, wherever they begin.
func framesFor(bytes, payload int) int {
	sectors := bytes / frame.SectorSize
	n := (sectors + payload - 1) / payload
	if payload >= sectorsPerPage {
		n++ // one that does not begin on a page boundary
	}
	return n
}

// firstFrame is how many sectors of a request at lba its first frame has: so
// many that the next begins on a page boundary.
func firstFrame(lba uint64, payload int) int {
	if payload < sectorsPerPage {
		return payload
	}
	return payload - int(lba%sectorsPerPage)
}

// maxTrimSectors is what one DATA SET MANAGEMENT command with one block of
// ranges can name.
const maxTrimSectors = frame.SectorSize / frame.TrimRangeLen * 0xffff

// frames is how many frames a request for sectors from lba has.
func (d *Disk) frames(kind Kind, lba, sectors uint64) int {
	switch kind {
	case Read, Write:
		first := uint64(firstFrame(lba, d.payload))
		if sectors <= first {
			return 1
		}
		return 1 + int((sectors-first+uint64(d.payload)-1)/uint64(d.payload))
	case Flush:
		if d.flushOp == 0 {
			return 0 // nothing to make durable
		}
	}
	return 1
}

// encode builds the frames of r in its transmit buffers. MACs and tag are the
// engine's to write.
func (r *Request) encode() {
	d := r.disk
	e := &r.request
	header := frame.Header{Addr: d.cfg.Addr}
	switch e.Kind {
	case engine.Flush:
		b := frame.NewATA(d.flushOp, 0, 0).Append(header.Append(r.transmit(0)[:0]))
		e.Frames[0] = engine.Frame{Transmit: frame.Pad(b)}
	case engine.Trim:
		r.encodeTrim(header)
	default:
		r.encodeTransfer(header)
	}
}

// encodeTransfer builds the frames of a read or a write; a write's payload is
// left for the caller to fill.
func (r *Request) encodeTransfer(header frame.Header) {
	d, e := r.disk, &r.request
	lba, left := e.LBA, int(e.Sectors)
	n := firstFrame(lba, d.payload)
	for i := range e.Frames {
		n = min(n, left)
		b := frame.NewATA(d.opcode(e.Kind), lba, uint8(n)).Append(header.Append(r.transmit(i)[:0]))
		if e.Kind == engine.Write {
			b = b[:frame.ATADataOffset+n*frame.SectorSize]
			r.segments = append(r.segments, b[frame.ATADataOffset:])
		}
		e.Frames[i] = engine.Frame{Transmit: frame.Pad(b), LBA: lba, Sectors: uint64(n)}
		lba, left, n = lba+uint64(n), left-n, d.payload
	}
	if left != 0 {
		panic("initiator: frames do not add up to the request")
	}
}

func (d *Disk) opcode(k engine.Kind) frame.Opcode {
	switch {
	case k == engine.Read && d.identify.LBA28:
		return frame.OpRead
	case k == engine.Read:
		return frame.OpReadExt
	case d.identify.LBA28:
		return frame.OpWrite
	}
	return frame.OpWriteExt
}

// encodeTrim builds the one frame of a trim: a block of ranges.
func (r *Request) encodeTrim(header frame.Header) {
	e := &r.request
	a := frame.NewATA(frame.OpTrim, 0, 1)
	a.Feature = frame.FeatureTrim
	b := a.Append(header.Append(r.transmit(0)[:0]))
	end := len(b) + frame.SectorSize
	for lba, left := e.LBA, e.Sectors; left > 0; {
		n := min(left, 0xffff)
		b = frame.TrimRange{LBA: lba, Sectors: uint16(n)}.Append(b)
		lba, left = lba+n, left-n
	}
	clear(b[len(b):end]) // "a length of zero is an empty entry"
	e.Frames[0] = engine.Frame{Transmit: b[:end], LBA: e.LBA, Sectors: e.Sectors}
}
