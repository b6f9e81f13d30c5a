package target

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/target/store"
)

// gatherer is memory that tells how many buffers each call had, and in which one
// sector cannot be read or written.
type gatherer struct {
	store.Gatherer
	calls []int
	bad   int64 // offset in bytes; negative: none
}

var errBad = errors.New("a bad sector")

func (g *gatherer) call(bufs [][]byte, off int64, do func([][]byte, int64) error) error {
	g.calls = append(g.calls, len(bufs))
	if n := int64(len(bytes.Join(bufs, nil))); g.bad >= off && g.bad < off+n {
		return errBad
	}
	return do(bufs, off)
}

func (g *gatherer) one(p []byte, off int64, do func([]byte, int64) error) error {
	return g.call([][]byte{p}, off, func([][]byte, int64) error { return do(p, off) })
}

func (g *gatherer) ReadNow(p []byte, off int64) error  { return g.one(p, off, g.Gatherer.ReadNow) }
func (g *gatherer) WriteNow(p []byte, off int64) error { return g.one(p, off, g.Gatherer.WriteNow) }

func (g *gatherer) ReadAllNow(bufs [][]byte, off int64) error {
	return g.call(bufs, off, g.Gatherer.ReadAllNow)
}

func (g *gatherer) WriteAllNow(bufs [][]byte, off int64) error {
	return g.call(bufs, off, g.Gatherer.WriteAllNow)
}

// streakBed is a port with a disk on a gatherer, and frames to put to it.
type streakBed struct {
	t    *testing.T
	p    *port
	l    *sink
	g    *gatherer
	addr frame.Addr
	tag  uint32
}

func newStreakBed(t *testing.T) *streakBed {
	b := &streakBed{t: t, g: &gatherer{Gatherer: store.Memory(1 << 20).(store.Gatherer), bad: -1}, addr: frame.Addr{Shelf: 1, Slot: 1}}
	b.p, b.l = newPortFor(t, Config{}, Disk{Addr: b.addr, Store: b.g})
	return b
}

// ask is a read of a sector, or, with content, a write.
func (b *streakBed) ask(op frame.Opcode, lba uint64, content ...byte) []byte {
	b.tag++
	f := frame.ATA{Op: op, LBA: lba, Count: 1, AFlags: frame.AFlagExtended}.Append(requestTo(b.l.state.MAC, b.addr, aoe.CommandIssueATACommand))
	frame.PutTag(f, b.tag)
	if content != nil {
		f = append(f, bytes.Repeat(content, frame.SectorSize)...)
	}
	return frame.Pad(f)
}

// fill puts the frame f where the port receives the i-th of a batch.
func (b *streakBed) fill(i int, f []byte) {
	b.p.frames[i] = full(b.p.frames[i])[:copy(full(b.p.frames[i]), f)]
}

// put puts frames to the port as if they had been received together, and returns
// the answers, copied, in the order of the requests.
func (b *streakBed) put(frames ...[]byte) [][]byte {
	for i, f := range frames {
		b.fill(i, f)
		b.p.frame(&b.p.frames[i])
	}
	b.p.endStreak()
	answers := make([][]byte, len(b.p.replies))
	for i, r := range b.p.replies {
		answers[i] = bytes.Clone(r)
	}
	b.p.flush()
	slices.SortFunc(answers, func(x, y []byte) int {
		return bytes.Compare(x[frame.TagOffset:frame.HeaderLen], y[frame.TagOffset:frame.HeaderLen])
	})
	if len(answers) != len(frames) {
		b.t.Fatalf("%d answers to %d requests", len(answers), len(frames))
	}
	return answers
}

func (b *streakBed) status(answer []byte) uint8 {
	b.t.Helper()
	h, arg, err := frame.Parse(answer)
	if err != nil || h.IsError() {
		b.t.Fatalf("answer %+v, %v", h, err)
	}
	a, _, err := frame.ParseATA(arg)
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Status()
}

// TestStreakIsOneCall: what lies one behind the other is one call, what does not is
// not; and each gets its own data.
func TestStreakIsOneCall(t *testing.T) {
	b := newStreakBed(t)
	for _, row := range []struct {
		name   string
		frames [][]byte
		calls  []int
	}{
		{"writes", [][]byte{b.ask(frame.OpWriteExt, 8, 'a'), b.ask(frame.OpWriteExt, 9, 'b'), b.ask(frame.OpWriteExt, 10, 'c')}, []int{3}},
		{"a gap", [][]byte{b.ask(frame.OpWriteExt, 20, 'd'), b.ask(frame.OpWriteExt, 22, 'e')}, []int{1, 1}},
		{"backwards", [][]byte{b.ask(frame.OpWriteExt, 41, 'f'), b.ask(frame.OpWriteExt, 40, 'g')}, []int{1, 1}},
		{"one sector twice", [][]byte{b.ask(frame.OpWriteExt, 50, 'h'), b.ask(frame.OpWriteExt, 50, 'i')}, []int{1, 1}},
		{"reads behind writes", [][]byte{b.ask(frame.OpWriteExt, 60, 'j'), b.ask(frame.OpWriteExt, 61, 'k'), b.ask(frame.OpReadExt, 62), b.ask(frame.OpReadExt, 63)}, []int{2, 2}},
		{"something else between", [][]byte{b.ask(frame.OpReadExt, 8), b.ask(frame.OpCheckPower, 0), b.ask(frame.OpReadExt, 9)}, []int{1, 1}},
	} {
		b.g.calls = nil
		for i, a := range b.put(row.frames...) {
			if b.status(a) != frame.StatusDRDY {
				t.Errorf("%s: request %d failed", row.name, i)
			}
		}
		if !slices.Equal(b.g.calls, row.calls) {
			t.Errorf("%s: calls of %d buffers, want %d", row.name, b.g.calls, row.calls)
		}
	}
	var reads [][]byte
	for _, lba := range []uint64{8, 9, 10, 11, 20, 22, 40, 41, 50, 60, 61} {
		reads = append(reads, b.ask(frame.OpReadExt, lba))
	}
	got := ""
	for _, a := range b.put(reads...) {
		got += string(a[frame.ATADataOffset])
	}
	if want := "abc\x00degfijk"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// TestStreakIsAsLongAsABatch: a longer one is several.
func TestStreakIsAsLongAsABatch(t *testing.T) {
	b := newStreakBed(t)
	var frames [][]byte
	for i := range uint64(replyBatch + 3) {
		frames = append(frames, b.ask(frame.OpReadExt, i))
	}
	b.put(frames...)
	if want := []int{replyBatch, 3}; !slices.Equal(b.g.calls, want) {
		t.Errorf("calls of %d buffers, want %d", b.g.calls, want)
	}
}

// TestABatchIsAQuarter of the requests that came together, within bounds.
func TestABatchIsAQuarter(t *testing.T) {
	for _, row := range []struct {
		requests int
		calls    []int
	}{
		{3, []int{3}},
		{8, []int{8}},
		{11, []int{8, 3}},
		{32, []int{8, 8, 8, 8}},
		{42, []int{10, 10, 10, 10, 2}},
		{64, []int{16, 16, 16, 16}},
		{100, []int{16, 16, 16, 16, 16, 16, 4}},
	} {
		b := newStreakBed(t)
		b.p.frames = newBuffers(row.requests, DefaultMaxMTU)
		for i := range b.p.frames {
			b.fill(i, b.ask(frame.OpReadExt, uint64(i)))
		}
		b.p.serve(row.requests)
		if !slices.Equal(b.g.calls, row.calls) {
			t.Errorf("%d requests: calls of %d buffers, want %d", row.requests, b.g.calls, row.calls)
		}
	}
}

// TestStreakFailsRequestByRequest: one bad sector fails the request that wants it,
// and no other.
func TestStreakFailsRequestByRequest(t *testing.T) {
	for _, op := range []frame.Opcode{frame.OpReadExt, frame.OpWriteExt} {
		b := newStreakBed(t)
		b.g.bad = 9 * frame.SectorSize
		var frames [][]byte
		for lba := range uint64(4) {
			if op.IsWrite() {
				frames = append(frames, b.ask(op, 8+lba, 'x'))
			} else {
				frames = append(frames, b.ask(op, 8+lba))
			}
		}
		for i, a := range b.put(frames...) {
			if failed := b.status(a)&frame.StatusFault != 0; failed != (i == 1) {
				t.Errorf("%v: request %d: failed %v", op, i, failed)
			}
		}
		if st := b.p.server.disk(b.addr).stats(); st.ReadErrors+st.WriteErrors != 1 {
			t.Errorf("%v: %d errors counted, want 1", op, st.ReadErrors+st.WriteErrors)
		}
	}
}

// TestStreakIsNotForEverybody: what all disks were asked is answered by each with its
// own data.
func TestStreakIsNotForEverybody(t *testing.T) {
	e11, e12 := frame.Addr{Shelf: 1, Slot: 1}, frame.Addr{Shelf: 1, Slot: 2}
	p, l := newPortFor(t, Config{WildcardReplies: -1}, Disk{Addr: e11, Store: store.Memory(1 << 20)}, Disk{Addr: e12, Store: store.Memory(1 << 20)})
	b := &streakBed{t: t, p: p, l: l}
	for addr, content := range map[frame.Addr]byte{e11: 'a', e12: 'b'} {
		b.addr = addr
		b.put(b.ask(frame.OpWriteExt, 0, content))
	}
	b.addr = frame.Anywhere
	f := b.ask(frame.OpReadExt, 0)
	p.frames[0] = full(p.frames[0])[:copy(full(p.frames[0]), f)]
	p.frame(&p.frames[0])
	p.endStreak()
	got := map[frame.Addr]byte{}
	for _, r := range p.replies {
		h, _, err := frame.Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Addr] = r[frame.ATADataOffset]
	}
	p.flush()
	if len(got) != 2 || got[e11] != 'a' || got[e12] != 'b' {
		t.Errorf("answers %v, want of e1.1 %d and of e1.2 %d", got, 'a', 'b')
	}
}

// TestStreakAllocatesNothing: nor do its answers.
func TestStreakAllocatesNothing(t *testing.T) {
	b := newStreakBed(t)
	d := b.p.server.disk(b.addr)
	d.gather = d.gather.(*gatherer).Gatherer // which counts nothing
	d.prompt = d.gather
	var writes, reads [8][]byte
	for i := range uint64(8) {
		writes[i], reads[i] = b.ask(frame.OpWriteExt, i, 'x'), b.ask(frame.OpReadExt, i)
	}
	tag := uint32(1000)
	n := testing.AllocsPerRun(100, func() {
		for _, frames := range [][8][]byte{writes, reads} {
			for i, f := range frames {
				slot := &b.p.frames[i]
				*slot = full(*slot)[:copy(full(*slot), f)]
				tag++
				frame.PutTag(*slot, tag)
				b.p.frame(slot)
			}
			b.p.flush()
			for range frames {
				<-b.l.sent
			}
		}
	})
	if n != 0 && !RaceDetector {
		t.Errorf("%v allocations, want 0", n)
	}
}
