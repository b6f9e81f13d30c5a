package guard

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
	"aoe/initiator/initiatortest"

	"github.com/cilium/ebpf"
)

var (
	ours   = frame.MAC{2, 1, 3, 5, 7, 9}
	theirs = frame.MAC{2, 4, 6, 8, 10, 12}
	disk   = frame.Addr{Shelf: 0x102, Slot: 3}
)

// loadable skips t where programs cannot be loaded, and fails it when err is
// anything else.
func loadable(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

func newTable(t testing.TB, slots int) *Table {
	t.Helper()
	table, err := NewTable(disk, slots)
	loadable(t, err)
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// A world is an engine that tells a table what is outstanding, on a virtual
// clock, and a target that answers when the script says so. The script is
// anything: each byte does something.
type world struct {
	t      testing.TB
	now    time.Duration
	engine *engine.Engine
	target *initiatortest.Target
	sent   [][]byte // everything, answered or not
	rng    *rand.Rand
	live   []*engine.Request
	slots  uint32
}

func newWorld(t testing.TB, table *Table, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), slots: uint32(table.Slots())}
	w.target = initiatortest.New(initiatortest.Config{Addr: disk, MAC: theirs})
	e, err := engine.New(engine.Config{
		Addr: disk, Paths: []engine.Path{{Local: ours, Remote: theirs, Proven: true}}, Buffers: 64, Slots: table.Slots(), Window: table.Slots() / 2,
		Identity: engine.ReadIdentity(w.target.Identify().Append(nil)),
		Rand:     rand.NewPCG(seed, 2), Tags: []engine.Tags{table}, DeadTime: -1, Probe: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
	e.Start(0)
	return w
}

// request is a read or a write of one to three frames.
func (w *world) request() *engine.Request {
	r := &engine.Request{Kind: engine.Read, LBA: w.rng.Uint64N(64), Sectors: 1 + w.rng.Uint64N(3)}
	op := frame.OpReadExt
	if w.rng.IntN(2) == 0 {
		r.Kind, op = engine.Write, frame.OpWriteExt
	}
	for i := range r.Sectors {
		b := frame.NewATA(op, r.LBA+i, 1).Append(frame.Header{Addr: disk}.Append(nil))
		if r.Kind == engine.Write {
			b = append(b, make([]byte, frame.SectorSize)...)
		}
		r.Frames = append(r.Frames, engine.Frame{Transmit: frame.Pad(b), LBA: r.LBA + i, Sectors: 1})
	}
	return r
}

// step does what one byte of a script says, and then what an owner does in a turn.
func (w *world) step(b byte) {
	switch b % 16 {
	case 0, 1, 2, 3, 4:
		r := w.request()
		w.live = append(w.live, r)
		w.engine.Submit(w.now, r)
	case 5, 6, 7, 8, 9, 10:
		if len(w.sent) > 0 { // the newest mostly: the others were answered
			back := min(int(b/16), len(w.sent)-1)
			for _, reply := range w.target.Answer(w.sent[len(w.sent)-1-back]) {
				w.engine.Receive(w.now, 0, reply)
			}
		}
	case 11:
		w.now += time.Duration(b/16) * 20 * time.Millisecond
	case 12:
		w.now = max(w.now, min(w.engine.Deadline(), w.now+2*time.Second))
	case 13:
		w.engine.Receive(w.now, 0, w.target.Announcement())
	case 14:
		w.engine.LinkChanged(w.now, 0, frame.MAC{2, 1, 3, 5, 7, 9 + b/64}, b&16 == 0, 255)
	case 15:
		if len(w.live) > 0 {
			w.engine.Cancel(w.now, w.live[int(b/16)%len(w.live)])
		}
	}
	w.engine.Advance(w.now)
	for r := w.engine.Completed(); r != nil; r = w.engine.Completed() {
		for i := range w.live {
			if w.live[i] == r {
				w.live = append(w.live[:i], w.live[i+1:]...)
				break
			}
		}
	}
	out := make([][]byte, 8)
	for n := w.engine.Drain(w.now, 0, out); n > 0; n = w.engine.Drain(w.now, 0, out) {
		for _, b := range out[:n] {
			w.sent = append(w.sent, bytes.Clone(b))
		}
	}
}

// answer is what the target would answer to something that was sent, back of
// them ago.
func (w *world) answer(back int) []byte {
	if len(w.sent) == 0 {
		return w.target.Announcement()
	}
	b := bytes.Clone(w.sent[len(w.sent)-1-back%len(w.sent)])
	frame.Reply(b, theirs, disk)
	return b
}

// keeps gives the filter a frame as a packet socket would. A test run takes the
// first 14 bytes off, and finds from them that it is for this host: zeros are
// the address of the loopback interface that it claims to come from.
func keeps(t testing.TB, p *ebpf.Program, b []byte) bool {
	t.Helper()
	verdict, err := p.Run(&ebpf.RunOptions{Data: append(make([]byte, frame.EthernetLen), b...)})
	if err != nil {
		t.Fatalf("test run of %d bytes: %v", len(b), err)
	}
	return verdict != 0
}

func runOptions(data []byte) *ebpf.RunOptions { return &ebpf.RunOptions{Data: data} }
