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
	asked int           // frames that have come
	users []user        // by the initiators' ports
}

// A user is what an initiator has of a target's buffers.
type user struct {
	held int
	last int // of target.asked
}

// admits decides about a frame as package target does: an initiator gets half of
// all if it is alone, and an equal part of those who hold something or have asked
// lately. Which of two targets is fairer to whom is not the question here, so only
// the rule is modelled.
func (t *target) admits(from int) bool {
	t.asked++
	if !t.Divides {
		return t.held < t.Buffers
	}
	for len(t.users) <= from {
		t.users = append(t.users, user{last: -1 << 30})
	}
	t.users[from].last = t.asked
	users := 0
	for i := range t.users {
		if u := &t.users[i]; u.held > 0 || t.asked-u.last < 4*t.Buffers {
			users++
		}
	}
	if t.held >= t.Buffers || t.users[from].held >= max(t.Buffers/max(users, 2), 1) {
		return false
	}
	t.users[from].held++
	return true
}

// done: a frame has left.
func (t *target) done(from int) {
	t.held--
	if t.Divides {
		t.users[from].held--
	}
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
	from := int(b[10])<<8 | int(b[11])
	if !t.admits(from) {
		t.f.result.TargetLost++
		return
	}
	t.held++
	t.busy = max(t.busy, t.f.now) + t.Service/2 + time.Duration(t.f.rng.Int64N(int64(t.Service)))
	t.f.at(t.busy, func() {
		if reply := t.answer(b); reply != nil {
			t.f.send(t.f.portOf(t.index), reply, func() { t.done(from) })
		} else {
			t.done(from)
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
