package target_test

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// A model is what a server is, without anything that makes it fast: for each
// frame, exactly the bytes of each answer. It is written from the specification
// with plain slices, and shares no code with the server but names.
type model struct {
	mac     frame.MAC
	buffers int
	sectors int // in a frame
	disks   []*modelDisk
}

type modelDisk struct {
	addr     frame.Addr
	data     []byte
	config   []byte
	mask     []frame.MAC
	reserve  []frame.MAC
	identify []byte
	readOnly bool
	settled  bool // not to be edited over the wire

	active  map[string]bool   // requests that were not answered yet, if any are left so
	said    map[sender]string // the latest write of each
	reusers []frame.MAC
}

// answers is what the server answers to f, in the order of addresses.
func (m *model) answers(f []byte) (all [][]byte) {
	if len(f) < 24 || f[12] != 0x88 || f[13] != 0xa2 {
		return nil
	}
	dst, src := frame.MAC(f[0:6]), frame.MAC(f[6:12])
	response := f[14]&0x08 != 0
	if response || src[0]&1 != 0 || src == m.mac || dst != m.mac && dst != frame.Broadcast {
		return nil
	}
	shelf, slot := binary.BigEndian.Uint16(f[16:]), f[18]
	for _, d := range m.disks {
		if (shelf == 0xffff || shelf == d.addr.Shelf) && (slot == 0xff || slot == d.addr.Slot) {
			q := asked{m: m, d: d, f: bytes.Clone(f), src: src, wild: shelf == 0xffff || slot == 0xff}
			q.group = q.wild || dst == frame.Broadcast
			if a := q.answer(); a != nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// asked is one frame put to one disk.
type asked struct {
	m           *model
	d           *modelDisk
	f           []byte
	src         frame.MAC
	wild, group bool
}

func (q *asked) answer() []byte {
	d := q.d
	if len(d.mask) > 0 && !slices.Contains(d.mask, q.src) {
		return nil
	}
	if q.f[14]>>4 != 1 {
		return q.refuse(0, 5)
	}
	switch q.f[19] {
	case 0:
		return q.ata()
	case 1:
		return q.query()
	case 2:
		return q.maskList()
	case 3:
		return q.reserveList()
	}
	return q.refuse(0, 1)
}

// reply is the header of an answer with error code, followed by body.
func (q *asked) reply(code byte, body ...byte) []byte {
	b := slices.Concat(q.f[6:12], q.m.mac[:], []byte{0x88, 0xa2, 0x18, 0})
	if code != 0 {
		b[14], b[15] = 0x1c, code
	}
	b = binary.BigEndian.AppendUint16(b, q.d.addr.Shelf)
	b = append(b, q.d.addr.Slot)
	b = append(b, q.f[19:24]...)
	b = append(b, body...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	return b
}

// refuse echoes at most n bytes of the argument.
func (q *asked) refuse(n int, code byte) []byte {
	return q.reply(code, q.f[24:min(len(q.f), 24+n)]...)
}

func (q *asked) ata() []byte {
	d, f := q.d, q.f
	op := byte(0)
	if len(f) >= 36 {
		op = f[27]
	}
	if len(d.reserve) > 0 && !slices.Contains(d.reserve, q.src) && op != 0xec {
		return q.refuse(12, 6)
	}
	if len(f) < 36 {
		return q.refuse(12, 2)
	}
	count, data := int(f[26]), f[36:]
	lba := binary.LittleEndian.Uint64(f[28:36]) & (1<<48 - 1)
	switch op {
	case 0x20, 0x24, 0x30, 0x34:
		writing := op&0x10 != 0
		if op&4 == 0 {
			lba &= 1<<28 - 1
		}
		switch {
		case writing && q.group, count == 0, count > q.m.sectors, writing && len(data) < 512*count:
			return q.refuse(12, 2)
		case writing && d.readOnly:
			return q.registers(0x41, 0x04, f[26])
		case lba+uint64(count) > uint64(len(d.data)/512):
			return q.registers(0x41, 0x10, f[26])
		}
		if a, again := q.again(writing, 512*count); again {
			return a
		}
		if writing {
			copy(d.data[512*lba:], data[:512*count])
			return q.acknowledged()
		}
		return q.registers(0x40, 0, 0, d.data[512*lba:][:512*count]...)
	case 0xe7, 0xea:
		if q.group {
			return q.refuse(12, 2)
		}
		if a, again := q.again(false, 0); again {
			return a
		}
		return q.verified()
	case 0x06:
		return q.trim(count, data)
	case 0xec:
		return q.registers(0x40, 0, 0, d.identify...)
	case 0xe5:
		return q.registers(0x40, 0, 0xff)
	}
	return q.registers(0x41, 0x04, f[26])
}

// A sender is who says something, and under which tag.
type sender struct {
	mac frame.MAC
	tag [4]byte
}

// again tells whether this is a copy, and what is answered to that. One of a
// request under way is answered with that one (H2). One of a write that was
// answered is not carried out again (H1), unless its sender is known to use tags
// again (H4).
func (q *asked) again(writing bool, n int) (answer []byte, copied bool) {
	d, whole := q.d, string(q.f)
	if d.active[whole] {
		return nil, true
	}
	if writing {
		what := string(q.f[6 : 36+n])
		if d.said == nil {
			d.said = map[sender]string{}
		}
		from := sender{q.src, [4]byte(q.f[20:24])}
		before, reused := d.said[from], slices.Contains(d.reusers, q.src)
		switch {
		case before == what && !reused:
			return q.acknowledged(), true
		case before != "" && before != what && !reused:
			d.reusers = append(d.reusers, q.src)
		}
		d.said[from] = what
	}
	if d.active != nil {
		d.active[whole] = true
	}
	return nil, false
}

// registers is the answer of the disk itself.
func (q *asked) registers(status, reg, count byte, data ...byte) []byte {
	arg := slices.Clone(q.f[24:36])
	arg[0] &= 0x53 // what is reserved is zero
	arg[1], arg[2], arg[3] = reg, count, status
	arg[10], arg[11] = 0, 0
	return q.reply(0, append(arg, data...)...)
}

func (q *asked) trim(count int, data []byte) []byte {
	d := q.d
	switch {
	case q.group:
		return q.refuse(12, 2)
	case q.f[25]&1 == 0:
		return q.registers(0x41, 0x04, q.f[26])
	case count == 0 || len(data) < 512*count:
		return q.refuse(12, 2)
	case d.readOnly:
		return q.registers(0x41, 0x04, q.f[26])
	}
	ranges := data[:512*count]
	for pass := range 2 {
		if pass == 1 {
			if a, again := q.again(true, len(ranges)); again {
				return a
			}
		}
		for i := 0; i < len(ranges); i += 8 {
			v := binary.LittleEndian.Uint64(ranges[i:])
			from, n := v&(1<<48-1), v>>48
			if n == 0 {
				continue
			}
			if from+n > uint64(len(d.data)/512) {
				return q.registers(0x41, 0x10, q.f[26])
			}
			if pass == 1 {
				clear(d.data[512*from : 512*(from+n)])
			}
		}
	}
	return q.acknowledged()
}

// acknowledged is the answer to a change.
func (q *asked) acknowledged() []byte {
	if q.d.identify[2*85]&(1<<5) == 0 {
		return q.registers(0x40, 0, 0)
	}
	return q.verified() // there is a write cache
}

// verified is an answer with what IDENTIFY has in words 137 to 139.
func (q *asked) verified() []byte {
	a := q.registers(0x40, 0, 0)
	copy(a[28:34], q.d.identify[2*137:2*140])
	return a
}

func (q *asked) query() []byte {
	d, f := q.d, q.f
	if len(f) < 32 {
		return q.refuse(8, 2)
	}
	n := int(binary.BigEndian.Uint16(f[30:]))
	if n > 1024 || n > len(f)-32 {
		return q.refuse(8, 2)
	}
	s, code := f[32:32+n], byte(0)
	sub := f[29] & 15
	switch {
	case sub > 4, sub >= 3 && (q.wild || d.settled):
		return q.refuse(8, 2)
	case sub == 1 && !bytes.Equal(s, d.config), sub == 2 && !bytes.HasPrefix(d.config, s):
		return nil
	case sub == 3 && len(d.config) > 0 && !bytes.Equal(s, d.config):
		code = byte(aoe.ErrorConfigStringPresent)
	case sub >= 3:
		d.config = bytes.Clone(s)
	}
	arg := []byte{0, byte(q.m.buffers), 0, 1, byte(q.m.sectors), 0x10 | sub}
	arg = binary.BigEndian.AppendUint16(arg, uint16(len(d.config)))
	return q.reply(code, append(arg, d.config...)...)
}

func (q *asked) maskList() []byte {
	d, f := q.d, q.f
	if len(f) < 28 || len(f) < 28+8*int(f[27]) || f[25] > 1 || f[25] == 1 && (q.wild || d.settled) {
		return q.refuse(4, 2)
	}
	if f[25] == 1 {
		for i := range int(f[27]) {
			e := f[28+8*i:]
			mac := frame.MAC(e[2:8])
			at := slices.Index(d.mask, mac)
			switch {
			case e[1] == 0, e[1] == 1 && at >= 0, e[1] == 2 && at < 0:
			case e[1] == 1 && len(d.mask) == 185:
				return q.reply(0, 0, 1, 3, byte(i))
			case e[1] == 1:
				d.mask = append(d.mask, mac)
			case e[1] == 2:
				d.mask = slices.Delete(d.mask, at, at+1)
			default:
				return q.reply(0, 0, 1, 2, byte(i))
			}
		}
	}
	arg := []byte{0, f[25], 0, byte(len(d.mask))}
	for _, m := range d.mask {
		arg = append(append(arg, 0, 0), m[:]...)
	}
	return q.reply(0, arg...)
}

func (q *asked) reserveList() []byte {
	d, f := q.d, q.f
	if len(f) < 26 || len(f) < 26+6*int(f[25]) || f[24] > 2 || f[24] > 0 && (q.wild || d.settled) {
		return q.refuse(2, 2)
	}
	code := byte(0)
	switch {
	case f[24] == 0:
	case f[24] == 1 && len(d.reserve) > 0 && !slices.Contains(d.reserve, q.src):
		code = 6
	case f[25] > 248:
		code = 2
	default:
		d.reserve = nil
		for i := range int(f[25]) {
			d.reserve = append(d.reserve, frame.MAC(f[26+6*i:]))
		}
	}
	arg := []byte{f[24], byte(len(d.reserve))}
	for _, m := range d.reserve {
		arg = append(arg, m[:]...)
	}
	return q.reply(code, arg...)
}
