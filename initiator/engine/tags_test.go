package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

// A mirror is somebody who is told which tags are outstanding, and judges frames
// by nothing else.
type mirror struct {
	local, remote frame.MAC
	bits          int
	slots         []mirrored
}

type mirrored struct {
	first, count uint32
	command      aoe.Command
}

func newMirror(bits int) *mirror { return &mirror{bits: bits, slots: make([]mirrored, 1<<bits)} }

func (m *mirror) Slots() int { return len(m.slots) }
func (m *mirror) SetPaths(local frame.MAC, remotes []frame.MAC) {
	m.local, m.remote = local, remotes[0]
}
func (m *mirror) SetTags(slot int32, first, count uint32, command aoe.Command) {
	m.slots[slot] = mirrored{first, count, command}
}

// admits is the rule of Engine.Admits, from what was told.
func (m *mirror) admits(b []byte) bool {
	h, _, err := frame.Parse(b)
	if err != nil || !h.IsResponse() || h.Version != frame.Version || h.Src != m.remote || h.Addr != disk {
		return false
	}
	if h.Tag == 0 && h.Command == commandQuery && !h.IsError() {
		return true
	}
	s := m.slots[h.Tag&(1<<m.bits-1)]
	nth := (h.Tag>>m.bits - s.first) & (1<<(31-m.bits) - 1)
	return h.Dst == m.local && h.Tag>>31 == 0 && nth < s.count && h.Command == s.command
}

// TestTagsToldAreTheTagsOutstanding: through losses, late answers, fences,
// cancellations and changes of the port, who was told admits what the engine does.
func TestTagsToldAreTheTagsOutstanding(t *testing.T) {
	for seed := range uint64(20) {
		m := newMirror(3 + int(seed%3)*3)
		w := newWorld(t, Config{Tags: []Tags{m}, Slots: m.Slots(), Window: m.Slots() / 2, DeadTime: -1, Rand: rand.NewPCG(seed, 7)}, initiatortest.Config{})
		rng := rand.New(rand.NewPCG(seed, 8))
		var all [][]byte // every frame sent
		admitted, refused := 0, 0
		for range 600 {
			switch rng.IntN(8) {
			case 0, 1:
				w.submit(request([]Kind{Read, Write, Flush}[rng.IntN(3)], rng.Uint64N(64), 1+rng.Uint64N(16), 0))
			case 2, 3, 4:
				if len(all) > 0 {
					w.answer(all[len(all)-1-rng.IntN(min(len(all), 6))])
				}
			case 5:
				w.wait(time.Duration(rng.IntN(200)) * time.Millisecond)
			case 6:
				w.engine.LinkChanged(w.now, 0, frame.MAC{2, 0, 0, 0, 0, byte(rng.IntN(2))}, rng.IntN(4) > 0, 255)
				w.turn()
			case 7:
				if r := w.engine.all.head; r != nil && rng.IntN(3) == 0 {
					w.engine.Cancel(w.now, r)
					w.turn()
				}
			}
			all, w.sent = append(all, w.sent...), nil
			for range min(len(all), 20) {
				b := append([]byte(nil), all[len(all)-1-rng.IntN(min(len(all), 12))]...)
				frame.Reply(b, theirs, disk)
				switch rng.IntN(3) {
				case 0:
					b[rng.IntN(frame.HeaderLen)] ^= 1 << rng.IntN(8)
				case 1:
					tag := binary.BigEndian.Uint32(b[frame.TagOffset:])
					frame.PutTag(b, tag+uint32(rng.IntN(5)-2)<<m.bits)
				}
				want := w.engine.Admits(0, b)
				if got := m.admits(b); got != want {
					t.Fatalf("seed %d: the engine admits it: %v, who was told: %v: %s", seed, want, got, frame.Describe(b))
				}
				if want {
					admitted++
				} else {
					refused++
				}
			}
		}
		if admitted < 100 || refused < 100 {
			t.Errorf("seed %d: %d admitted, %d refused: too few to say anything", seed, admitted, refused)
		}
	}
}

// TestTagsAreToldBeforeTheyAreSent: the answer to a frame is admitted as soon as
// Drain has given the frame out, whether it is the first of its kind, sent
// again, or the engine's own.
func TestTagsAreToldBeforeTheyAreSent(t *testing.T) {
	m := newMirror(6)
	w := newWorld(t, Config{Tags: []Tags{m}, Slots: 64, Window: 32, DeadTime: -1, Probe: 100 * time.Millisecond}, initiatortest.Config{})
	for i := range uint64(8) {
		w.engine.Submit(w.now, request(Write, 8*i, 8, 1))
	}
	given := 0
	out := make([][]byte, 4)
	for range 40 {
		w.engine.Advance(w.now)
		for n := w.engine.Drain(w.now, 0, out); n > 0; n = w.engine.Drain(w.now, 0, out) {
			for _, b := range out[:n] {
				reply := append([]byte(nil), b...)
				frame.Reply(reply, theirs, disk)
				if given++; !m.admits(reply) {
					t.Fatalf("given out and not told: %s", frame.Describe(b))
				}
			}
		}
		w.now = max(w.now+time.Millisecond, w.engine.Deadline())
	}
	if c := w.engine.Counters(); c.Retransmitted == 0 || c.Probes == 0 || given < 20 {
		t.Errorf("%d frames were given out, %d of them again and %d of the engine's own", given, c.Retransmitted, c.Probes)
	}
}

// TestTagsWithoutRoom: who has no room for every slot is refused.
func TestTagsWithoutRoom(t *testing.T) {
	c := Config{Addr: disk, Paths: onePath, Rand: rand.NewPCG(1, 1), Tags: []Tags{newMirror(6)}}
	if _, err := New(c); err == nil {
		t.Error("64 slots are taken for 4096")
	}
	c.Slots, c.Window = 64, 32
	if _, err := New(c); err != nil {
		t.Error(err)
	}
}
