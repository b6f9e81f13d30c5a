package target_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// A sequence is requests that overtake and overlap each other, and copies of
// them, put to a disk whose store does nothing until it is let. What each is
// answered follows from the order in which they arrived alone: that is what the
// model does, one after the other.
type sequence struct {
	*rig
	s       *source
	model   *model
	store   store.Store
	slow    *modelDisk
	pending map[string]int // answers that must come
	frames  map[sender][]byte
	sent    []sender
	tags    map[frame.MAC]uint32 // the latest of each initiator: they need not differ
	calls   int

	mu      sync.Mutex
	waiting []chan struct{} // calls of the store, in the order they came
	prompt  bool            // calls that may not wait are let through
}

const (
	sequenceSectors = 24
	// sequenceDepth is less than what one of four initiators may have under
	// way, so that nothing is dropped.
	sequenceDepth = 8
	// sequenceSteps are what a fuzzer gets of an input, however long.
	sequenceSteps = 300
)

// runSequence does what the source says, in a bubble, in which it is known when
// nothing happens any more. It returns the number of requests, and of calls of
// the store that had to wait.
func runSequence(t *testing.T, s *source) (requests, calls int) {
	q := &sequence{s: s, pending: map[string]int{}, frames: map[sender][]byte{}, tags: map[frame.MAC]uint32{}, store: store.Memory(sequenceSectors * frame.SectorSize)}
	gated := storetest.NewFault(q.store, storetest.FaultConfig{Prompt: 1, Hook: q.hold})
	mode := pick(s, target.ModeSync, target.ModeFlush)
	q.rig = begin(t, target.Config{
		BufferCount: 16, Workers: 2, Batch: 4, MaxMTU: 2200, RecentWrites: 256, WildcardReplies: -1, Watch: -1, WireEdits: target.EditsAny,
	}, 1, disk(e11, sequenceSectors), target.Disk{Addr: e21, Store: gated, Mode: mode, Serial: "slow"})
	q.model = &model{mac: q.tap.State().MAC, buffers: 16, sectors: 4}
	for _, a := range []frame.Addr{e11, e21} {
		d := &modelDisk{addr: a, data: make([]byte, sequenceSectors*frame.SectorSize)}
		d.identify = wantOK(t, q.ask(q.ata(a, frame.OpIdentify, 0, 1, nil)))
		q.model.disks = append(q.model.disks, d)
	}
	q.slow = q.model.disks[1]
	q.slow.active = map[string]bool{}
	for steps := 0; len(s.b) > 0 && steps < sequenceSteps; steps++ {
		q.step()
	}
	q.finish()
	return len(q.sent), q.calls
}

// hold is called by the store for each call.
func (q *sequence) hold(c storetest.Call) error {
	q.mu.Lock()
	if c.Now {
		defer q.mu.Unlock()
		if q.prompt {
			return nil
		}
		return store.ErrWouldBlock
	}
	pass := make(chan struct{})
	q.waiting = append(q.waiting, pass)
	q.mu.Unlock()
	<-pass
	return nil
}

// let lets the call at i pass, whichever came when.
func (q *sequence) let(i int) {
	q.mu.Lock()
	n := len(q.waiting)
	if n > 0 {
		close(q.waiting[i%n])
		q.waiting = slices.Delete(q.waiting, i%n, i%n+1)
		q.calls++
	}
	q.mu.Unlock()
	q.settle()
}

func (q *sequence) step() {
	switch p := q.s.byte(); {
	case p < 0x30:
		q.let(int(q.s.byte()))
	case p < 0x50 && len(q.sent) > 0:
		q.send(q.frames[q.sent[len(q.sent)-1-int(q.s.byte())%min(len(q.sent), 16)]])
	default:
		if len(q.slow.active) < sequenceDepth {
			q.mu.Lock()
			q.prompt = p >= 0xc0
			q.mu.Unlock()
			if p == 0xff {
				q.streak()
			} else {
				q.send(q.request())
			}
		} else {
			q.let(int(p))
		}
	}
}

// streak sends several requests of one kind at once, mostly one behind the other.
func (q *sequence) streak() {
	s := q.s
	a, mac := pick(s, e21, e11), pick(s, macA, macB)
	n, reads := 1+int(s.byte())%4, s.byte()&1 == 0
	lba := uint64(s.byte()) % sequenceSectors
	for range min(4, sequenceDepth-len(q.slow.active)) {
		var f []byte
		if reads {
			f = q.read(a, lba, uint8(n))
		} else {
			f = q.write(a, lba, sectors(n, s.byte()&0x7f))
		}
		q.put(q.tagged(mac, f))
		if lba += uint64(n); s.byte() < 0x20 {
			lba = uint64(s.byte()) % sequenceSectors
		}
	}
	q.settle()
}

// request makes a request with a tag that its sender never used.
func (q *sequence) request() []byte {
	s := q.s
	a := pick(s, e21, e21, e21, e11)
	n := 1 + int(s.byte())%4
	lba := uint64(s.byte()) % sequenceSectors
	var f []byte
	switch p := s.byte() % 16; {
	case p < 6:
		f = q.write(a, lba, sectors(n, s.byte()&0x7f))
	case p < 10:
		f = q.read(a, lba, uint8(n))
	case p == 10:
		f = q.ata(a, pick(s, frame.OpFlush, frame.OpFlushExt), 0, 0, nil)
	case p == 11:
		f = q.trim(a, frame.TrimRange{LBA: lba, Sectors: uint16(n)}, frame.TrimRange{LBA: uint64(s.byte()) % sequenceSectors, Sectors: uint16(s.byte()) % 2})
	case p == 12:
		f = q.query(a, pick(s, cfgRead, cfgSet, cfgForce), string(s.take(int(s.byte()%3))))
	case p == 13 && s.byte() < 0x60: // seldom: who is not on it is out
		f = append(s.mask(q.header(a, 0)), make([]byte, 60)...)
	case p == 14 && s.byte() < 0x60:
		f = append(s.reserve(q.header(a, 0)), make([]byte, 60)...)
	default: // anything
		f = append(q.header(a, 0), s.take(int(s.byte()))...)
	}
	for i := frame.HeaderLen; i < len(f); i++ { // would look like memory
		if f[i] == poison {
			f[i] = 0
		}
	}
	return q.tagged(pick(s, macA, macA, macB, somebody[2]), f)
}

// tagged makes f a request of mac's.
func (q *sequence) tagged(mac frame.MAC, f []byte) []byte {
	q.tags[mac]++
	frame.PutTag(from(mac, f), q.tags[mac])
	who := sender{mac, [4]byte(f[frame.TagOffset:])}
	q.sent = append(q.sent, who)
	q.frames[who] = f
	return f
}

// send puts f to the server and the model, and waits for what comes of it.
func (q *sequence) send(f []byte) {
	q.put(f)
	q.settle()
}

func (q *sequence) put(f []byte) {
	for _, want := range q.model.answers(f) {
		q.pending[string(want)]++
	}
	q.tap.in <- bytes.Clone(f)
}

// settle waits until everything waits for the store or for a frame, and compares
// what was answered.
func (q *sequence) settle() {
	synctest.Wait()
	for len(q.tap.out) > 0 {
		got := q.next(q.tap)
		if q.pending[string(got)]--; q.pending[string(got)] < 0 {
			asked := q.frames[answers(got)]
			q.t.Fatalf("the request of %d bytes\n% x\nis answered with %d bytes\n% x\nwhich nobody expects", len(asked),
				asked[:min(len(asked), 80)], len(got), got[:min(len(got), 80)])
		}
		if q.pending[string(got)] == 0 {
			delete(q.pending, string(got))
		}
		delete(q.slow.active, string(q.frames[answers(got)]))
	}
}

// answers is whose request f answers.
func answers(f []byte) sender {
	return sender{frame.MAC(f[0:6]), [4]byte(f[frame.TagOffset:])}
}

// finish lets everything pass and checks that nothing is missing.
func (q *sequence) finish() {
	for len(q.waiting) > 0 {
		q.let(0)
	}
	for want := range q.pending {
		asked := q.frames[answers([]byte(want))]
		q.t.Errorf("the request of %d bytes\n% x\nis never answered", len(asked), asked[:min(len(asked), 80)])
	}
	st := q.stats(e21)
	if st.Held != 0 || st.Overflow != 0 {
		q.t.Errorf("%d buffers are held in the end, and %d requests found none", st.Held, st.Overflow)
	}
	for _, d := range q.model.disks {
		s := q.stats(d.addr).Settings
		if !bytes.Equal(s.ConfigString, d.config) || !slices.Equal(s.Mask, d.mask) || !slices.Equal(s.Reserve, d.reserve) {
			q.t.Errorf("%s: settings %+v, the model has %q, %v, %v", d.addr, s, d.config, d.mask, d.reserve)
		}
	}
	data := make([]byte, len(q.slow.data))
	if _, err := q.store.ReadAt(data, 0); err != nil || !bytes.Equal(data, q.slow.data) {
		q.t.Errorf("the disk holds something else than the model (%v)", err)
	}
	q.stop()
	for {
		synctest.Wait()
		q.mu.Lock()
		n := len(q.waiting)
		q.mu.Unlock()
		if n == 0 {
			break
		}
		q.let(0) // the sync of the closing
	}
	q.close()
}

// TestH3SequencesAgreeWithTheModel: hundreds of random sequences, seeded.
func TestH3SequencesAgreeWithTheModel(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{3})
	requests, calls := 0, 0
	for round := range 300 {
		b := make([]byte, 200+round*4)
		rng.Read(b)
		t.Run(fmt.Sprintf("round=%d", round), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, c := runSequence(t, &source{b})
				requests, calls = requests+r, calls+c
			})
		})
	}
	if t.Logf("%d requests, %d calls of the store that waited", requests, calls); calls < requests/4 {
		t.Error("hardly anything ever waited: the test tests nothing")
	}
}

// FuzzSequence lets a fuzzer make the sequences.
func FuzzSequence(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 0))
	for range 20 {
		b := make([]byte, 0, 400)
		for len(b) < cap(b) {
			b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) { runSequence(t, &source{b}) })
	})
}
