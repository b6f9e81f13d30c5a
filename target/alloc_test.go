package target

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target/store"
)

// A sink is a link that counts what is sent.
type sink struct {
	state link.State
	sent  chan struct{}
}

func (s *sink) Recv([][]byte, time.Duration) (int, error) { return 0, errors.New("not used") }

func (s *sink) Send(frames [][]byte) (int, error) {
	for range frames {
		s.sent <- struct{}{}
	}
	return len(frames), nil
}

func (s *sink) Wake()             {}
func (s *sink) State() link.State { return s.state }
func (s *sink) Stats() link.Stats { return link.Stats{} }
func (s *sink) Close() error      { return nil }

// waits is a store that is never prompt.
type waits struct{ store.Store }

// newPortFor makes a server with the disks and one port, whose receive
// goroutine is the test itself.
func newPortFor(t testing.TB, cfg Config, disks ...Disk) (*port, *sink) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if err := s.AddDisk(d); err != nil {
			t.Fatal(err)
		}
	}
	l := &sink{
		state: link.State{Name: "sink", MAC: frame.MAC{2, 0, 0, 0, 0, 9}, MTU: 9000, Up: true, Generation: 1},
		sent:  make(chan struct{}, 1024),
	}
	if err := s.AddLink(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.ports[0], l
}

func requestTo(dst frame.MAC, a frame.Addr, c aoe.Command) []byte {
	return frame.Header{Dst: dst, Src: frame.MAC{2, 0, 0, 0, 0, 1}, Addr: a, Command: c, Tag: 7}.Append(nil)
}

// put serves the frame f as if it had just been received, and returns how many
// answers there were at once.
func (p *port) put(f []byte) int {
	p.frames[0] = full(p.frames[0])[:copy(full(p.frames[0]), f)]
	if len(f) >= frame.HeaderLen { // a request of its own, not a copy
		frame.PutTag(p.frames[0], 7+uint32(p.counts.Frames))
	}
	p.frame(&p.frames[0])
	p.endStreak()
	n := len(p.replies)
	p.flush()
	return n
}

// Serving a request allocates nothing: not those that are answered at once, not
// those that wait, not those that are refused or ignored.
func TestNoAllocations(t *testing.T) {
	e11, e12 := frame.Addr{Shelf: 1, Slot: 1}, frame.Addr{Shelf: 1, Slot: 2}
	p, l := newPortFor(t, Config{WildcardReplies: -1},
		Disk{Addr: e11, Store: store.Memory(1 << 20), Given: Given{ConfigString: []byte("a string")}},
		Disk{Addr: e12, Store: waits{store.Memory(1 << 20)}})
	p.server.disk(e11).settings.Mask = []frame.MAC{{2, 0, 0, 0, 0, 1}}
	mac := l.state.MAC
	ata := func(a frame.Addr, op frame.Opcode, lba uint64, count uint8, data int) []byte {
		f := frame.ATA{Op: op, LBA: lba, Count: count}.Append(requestTo(mac, a, aoe.CommandIssueATACommand))
		return frame.Pad(append(f, make([]byte, data)...))
	}
	query := func(sub aoe.ConfigCommand, s string) []byte {
		return frame.Config{Sub: sub, String: []byte(s)}.Append(requestTo(mac, e11, aoe.CommandQueryConfigInformation))
	}
	edit := func(f []byte, at int, v byte) []byte { f[at] = v; return f }
	trim := edit(ata(e12, frame.OpTrim, 0, 1, 512), 25, 1)
	trim = append(frame.TrimRange{LBA: 5, Sectors: 2}.Append(trim[:36]), trim[44:]...)
	everyone := frame.Anywhere
	for _, row := range []struct {
		name    string
		f       []byte
		answers int  // in all
		later   bool // they come from a worker
	}{
		{"read", ata(e11, frame.OpReadExt, 0, 16, 0), 1, false},
		{"write", ata(e11, frame.OpWriteExt, 0, 16, 8192), 1, false},
		{"flush", ata(e11, frame.OpFlush, 0, 0, 0), 1, false},
		{"identify", ata(e11, frame.OpIdentify, 0, 1, 0), 1, false},
		{"check power", ata(e11, frame.OpCheckPower, 0, 0, 0), 1, false},
		{"abort", ata(e11, frame.OpSMART, 0, 0, 0), 1, false},
		{"beyond the end", ata(e11, frame.OpReadExt, 1<<40, 1, 0), 1, false},
		{"bad argument", ata(e11, frame.OpReadExt, 0, 0, 0), 1, false},
		{"short write", ata(e11, frame.OpWriteExt, 0, 2, 512), 1, false},
		{"read config", query(aoe.ConfigCommandRead, ""), 1, false},
		{"test config", query(aoe.ConfigCommandTest, "other"), 0, false},
		{"set what is set", query(aoe.ConfigCommandSet, "a string"), 1, false},
		{"read mask", frame.Mask{}.Append(requestTo(mac, e11, aoe.CommandMACMaskList)), 1, false},
		{"read reserve list", frame.Reserve{}.Append(requestTo(mac, e11, aoe.CommandReserveRelease)), 1, false},
		{"version 2", edit(ata(e11, frame.OpReadExt, 0, 1, 0), 14, 0x20), 1, false},
		{"unknown command", requestTo(mac, e11, 200), 1, false},
		{"masked", edit(ata(e11, frame.OpReadExt, 0, 1, 0), 6, 4), 0, false},
		{"another disk", requestTo(mac, frame.Addr{Shelf: 9, Slot: 9}, 0), 0, false},
		{"another station", requestTo(frame.MAC{2, 2, 2, 2, 2, 2}, e11, 0), 0, false},
		{"a response", edit(ata(e11, frame.OpReadExt, 0, 1, 0), 14, 0x18), 0, false},
		{"a runt", requestTo(mac, e11, 0)[:20], 0, false},
		{"foreign", edit(ata(e11, frame.OpReadExt, 0, 1, 0), 12, 8), 0, false},
		{"discovery", frame.Config{}.Append(requestTo(frame.Broadcast, everyone, aoe.CommandQueryConfigInformation)), 2, false},
		{"refused to everyone", ata(everyone, frame.OpFlush, 0, 0, 0), 2, false},
		{"read that waits", ata(e12, frame.OpReadExt, 0, 16, 0), 1, true},
		{"write that waits", ata(e12, frame.OpWriteExt, 0, 16, 8192), 1, true},
		{"flush that waits", ata(e12, frame.OpFlush, 0, 0, 0), 1, true},
		{"trim", trim, 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			serve := func() {
				at := p.put(row.f)
				if row.later {
					if at != 0 {
						t.Error("answered at once")
					}
				} else if at != row.answers {
					t.Errorf("%d answers, want %d", at, row.answers)
				}
				for range row.answers {
					<-l.sent
				}
			}
			if n := testing.AllocsPerRun(200, serve); n != 0 && !RaceDetector {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}

// The buffers' number never changes, whatever becomes of requests.
func TestBuffersAreConserved(t *testing.T) {
	e12 := frame.Addr{Shelf: 1, Slot: 2}
	p, l := newPortFor(t, Config{BufferCount: 4}, Disk{Addr: e12, Store: waits{store.Memory(1 << 20)}})
	d := p.server.disk(e12)
	distinct := func() int {
		seen := map[*byte]bool{}
		for _, b := range p.frames {
			seen[&full(b)[0]] = true
		}
		for _, b := range p.spare {
			seen[&full(b)[0]] = true
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, r := range d.free {
			if len(r.buf) != cap(r.buf) || r.held {
				t.Fatal("a free request that is not free")
			}
			seen[&r.buf[0]] = true
		}
		return len(seen)
	}
	want := DefaultBatch + spares + 8
	if n := distinct(); n != want {
		t.Fatalf("%d buffers, want %d", n, want)
	}
	for i := range 1000 {
		f := frame.ATA{Op: frame.OpReadExt, LBA: uint64(i), Count: 1}.Append(requestTo(l.state.MAC, e12, aoe.CommandIssueATACommand))
		frame.PutTag(f, uint32(i))
		p.put(f)
	}
	for d.stats().Held > 0 {
		runtime.Gosched()
	}
	if n := distinct(); n != want {
		t.Errorf("%d buffers, want %d", n, want)
	}
	st := d.stats()
	if int(st.Reads) != len(l.sent) || st.Reads+st.Overflow != 1000 {
		t.Errorf("%d reads, %d overflows, %d answers of 1000 requests", st.Reads, st.Overflow, len(l.sent))
	}
}

// Ending or releasing a request twice is a mistake of ours, and not survived.
func TestDoubleEndPanics(t *testing.T) {
	p, l := newPortFor(t, Config{}, Disk{Addr: frame.Addr{Shelf: 1, Slot: 1}, Store: store.Memory(1 << 20)})
	d := p.server.disk(frame.Addr{Shelf: 1, Slot: 1})
	panics := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", what)
			}
		}()
		f()
	}
	a, b := &request{}, &request{}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.admitLocked(a)
	d.admitLocked(b)
	d.doneLocked(a)
	panics("ending a request twice", func() { d.doneLocked(a) })
	d.doneLocked(b)
	panics("releasing what is not held", func() { d.releaseLocked(d.free[0]) })
	panics("giving back too much", func() { d.shares.give(l.state.MAC) })
}

func TestBucket(t *testing.T) {
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	b := bucket{rate: 10}
	take := func(n int) (got int) {
		for range n {
			if b.take(clock) {
				got++
			}
		}
		return got
	}
	for _, row := range []struct {
		after time.Duration
		ask   int
		want  int
	}{
		{0, 100, 10}, // full at first
		{50 * time.Millisecond, 5, 0},
		{50 * time.Millisecond, 5, 1}, // one each tenth of a second
		{time.Second, 4, 4},
		{0, 100, 6},
		{time.Hour, 100, 10}, // never more than a second's worth
		{time.Millisecond, 1, 0},
		{99 * time.Millisecond, 2, 1}, // and no fraction is lost
	} {
		now = now.Add(row.after)
		if got := take(row.ask); got != row.want {
			t.Errorf("%v later, %d of %d, want %d", row.after, got, row.ask, row.want)
		}
	}
	b = bucket{rate: -1}
	if take(1000) != 1000 {
		t.Error("a negative rate is a limit")
	}
}

// Everyone who is there gets an equal part, whatever the order.
func TestShares(t *testing.T) {
	s := newShares(12)
	mac := func(i int) frame.MAC { return frame.MAC{2, 0, 0, 0, 0, byte(i)} }
	free, seq := 12, uint64(0)
	take := func(i, n int) (got int) {
		for range n {
			seq++
			if s.take(mac(i), seq, free > 0) {
				free--
				got++
			}
		}
		return got
	}
	give := func(i, n int) {
		for range n {
			s.give(mac(i))
			free++
		}
	}
	for _, row := range []struct {
		who, ask, want, then int // then so many are given back
	}{
		{1, 20, 6, 0}, // alone: half
		{2, 20, 6, 2}, // two: half each
		{3, 20, 2, 0}, // three: what is there, up to a third
		{1, 20, 0, 3}, // has more than a third
		{3, 20, 2, 0},
		{1, 20, 1, 0},
	} {
		if got := take(row.who, row.ask); got != row.want {
			t.Errorf("initiator %d got %d of %d, want %d", row.who, got, row.ask, row.want)
		}
		give(row.who, row.then)
	}
	give(1, 4)
	give(2, 4)
	give(3, 4)
	seq += 4 * 12 // long ago
	if got := take(1, 20); got != 6 {
		t.Errorf("alone again: %d, want 6", got)
	}
	give(1, 6)
	for i := range 200 { // more than the table has entries
		if got := take(i, 1); got != 1 {
			t.Fatalf("initiator %d got nothing of %d free", i, free)
		}
		give(i, 1)
	}
}
