package target_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// A source of decisions: bytes that a fuzzer changes. When they are used up
// there are only zeros.
type source struct{ b []byte }

func (s *source) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

// take is the next n bytes, as far as there are.
func (s *source) take(n int) []byte {
	n = min(n, len(s.b))
	v := bytes.Clone(s.b[:n])
	s.b = s.b[n:]
	return v
}

func pick[T any](s *source, list ...T) T { return list[int(s.byte())%len(list)] }

var (
	e99      = frame.Addr{Shelf: 9, Slot: 9} // asked by the test in between
	somebody = []frame.MAC{macA, macB, {2, 0, 0, 0, 0, 3}}
)

// request makes a frame of what the source says: anything at all, or something
// that resembles a request.
func (s *source) request(target frame.MAC) []byte {
	kind := s.byte()
	if kind%8 == 7 {
		return s.take(int(s.byte()))
	}
	h := frame.Header{
		Dst:  pick(s, target, target, target, frame.Broadcast, macB),
		Src:  pick(s, macA, macA, macB, somebody[2], frame.Broadcast, target),
		Addr: pick(s, e11, e12, e21, e11, e12, e21, frame.Anywhere, frame.Addr{Shelf: 1, Slot: 0xff}, frame.Addr{Shelf: 0xffff, Slot: 1}, frame.Addr{Shelf: 3}),
	}
	f := h.Append(nil)
	binary.BigEndian.PutUint32(f[20:], uint32(s.byte()))
	if v := s.byte(); v >= 0xf0 {
		f[14] = s.byte()
	}
	switch kind % 8 {
	case 0, 1, 2:
		f = s.ata(f)
	case 3:
		f = s.query(f)
	case 4:
		f = s.mask(f)
	case 5:
		f = s.reserve(f)
	case 6:
		f[19] = s.byte()
		f = append(f, s.take(int(s.byte()))...)
	}
	switch v := s.byte(); {
	case v >= 0xf0: // cut short
		f = f[:min(len(f), int(s.byte())*8)]
	case v >= 0x80: // padded
		f = append(f, make([]byte, v)...)
	}
	return f[:min(len(f), 9014)]
}

func (s *source) ata(f []byte) []byte {
	ops := []byte{0x20, 0x24, 0x30, 0x34, 0x34, 0x30, 0xec, 0xe7, 0xea, 0xe5, 0x06, 0x06, 0xb0, 0xef, s.byte()}
	op := pick(s, ops...)
	lba := uint64(s.byte() % 72)
	if s.byte() >= 0xf0 {
		lba = binary.LittleEndian.Uint64(append(s.take(6), make([]byte, 8)...))
	}
	count := s.byte() % 19
	if s.byte() >= 0xf8 {
		count = s.byte()
	}
	f = append(f, s.byte(), s.byte()|op>>2&1, count, op)
	f = binary.LittleEndian.AppendUint64(f, lba&(1<<48-1))
	switch op {
	case 0x06:
		data := make([]byte, int(count%18)*512)
		for i := range min(int(s.byte()%8), len(data)/8) {
			r := uint64(s.byte()%72) | uint64(s.byte()%12)<<48
			binary.LittleEndian.PutUint64(data[8*i:], r)
		}
		f = append(f, data...)
	case 0x30, 0x34:
		f = append(f, bytes.Repeat([]byte{s.byte()}, int(count%18)*512)...)
		copy(f[36:], s.take(int(s.byte()%16)))
	}
	return f
}

func (s *source) query(f []byte) []byte {
	f[19] = 1
	str := s.take(int(s.byte() % 4))
	if s.byte() >= 0xf0 {
		str = bytes.Repeat([]byte{s.byte()}, int(s.byte())*5)
	}
	n := len(str)
	if s.byte() >= 0xf0 {
		n = int(s.byte()) * 5
	}
	f = append(f, s.byte(), s.byte(), s.byte(), s.byte(), s.byte(), s.byte()%6, byte(n>>8), byte(n))
	return append(f, str...)
}

// macs is a list of n known stations, or of others.
func (s *source) mac() frame.MAC {
	if v := s.byte(); v >= 0x40 {
		return frame.MAC{2, 7, 0, 0, 0, v}
	}
	return pick(s, somebody...)
}

func (s *source) mask(f []byte) []byte {
	f[19] = 2
	n := s.byte() % 5
	if s.byte() >= 0xf0 {
		n = s.byte()
	}
	f = append(f, s.byte(), s.byte()%3, s.byte(), n)
	for range min(n, s.byte()) {
		m := s.mac()
		f = append(append(f, s.byte(), s.byte()%4), m[:]...)
	}
	return f
}

func (s *source) reserve(f []byte) []byte {
	f[19] = 3
	n := s.byte() % 5
	if s.byte() >= 0xf0 {
		n = s.byte()
	}
	f = append(f, s.byte()%4, n)
	for range min(n, s.byte()) {
		m := s.mac()
		f = append(f, m[:]...)
	}
	return f
}

// againstModel puts the requests that the source makes to a server and to the
// model, and compares every byte of every answer.
func againstModel(t *testing.T, s *source, steps int) (n int) {
	const sectors = 64
	slow := storetest.NewFault(store.Memory(sectors*512), storetest.FaultConfig{Seed: 1, Prompt: 0.5})
	r := serve(t, target.Config{BufferCount: 4, Workers: 2, Batch: 2, WildcardReplies: -1, Watch: -1, WireEdits: target.EditsAny}, 1,
		disk(e11, sectors), target.Disk{Addr: e12, Store: store.Memory(sectors * 512), ReadOnly: true, WireEdits: target.EditsListed},
		target.Disk{Addr: e21, Store: slow}, disk(e99, 1))
	m := &model{mac: r.tap.State().MAC, buffers: 4, sectors: 17}
	for _, a := range []frame.Addr{e11, e12, e21, e99} {
		d := &modelDisk{addr: a, data: make([]byte, sectors*512), readOnly: a == e12, settled: a == e12}
		if a == e99 {
			d.data = d.data[:512]
		}
		d.identify = wantOK(t, r.ask(r.ata(a, frame.OpIdentify, 0, 1, nil)))
		m.disks = append(m.disks, d)
	}
	for range steps {
		if len(s.b) == 0 {
			break
		}
		f := s.request(m.mac)
		for i := range f { // would look like memory
			if f[i] == poison {
				f[i] = 0
			}
		}
		if len(f) >= 20 && f[16] == 0 && f[17] == 9 && f[18] == 9 {
			f[17] = 8 // not the one that tells that nothing else comes
		}
		want := m.answers(f)
		r.tap.in <- f
		compare(t, r, f, want)
		n++
	}
	for _, d := range m.disks {
		st := r.stats(d.addr)
		if !bytes.Equal(st.Settings.ConfigString, d.config) || !slices.Equal(st.Settings.Mask, d.mask) || !slices.Equal(st.Settings.Reserve, d.reserve) {
			t.Fatalf("%s: settings %+v, the model has %q, %v, %v", d.addr, st.Settings, d.config, d.mask, d.reserve)
		}
	}
	// r.close answers what is left, and there must be nothing.
	r.close()
	if n := len(r.tap.out); n != 0 {
		t.Fatalf("%d answers too many", n)
	}
	return n
}

// compare checks that f is answered with want, and with nothing else. Disks
// that wait answer later than those that do not.
func compare(t *testing.T, r *rig, f []byte, want [][]byte) {
	t.Helper()
	got := make([][]byte, len(want))
	for i := range got {
		got[i] = r.next(r.tap)
	}
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("the request of %d bytes\n% x\nis answered with %d bytes\n% x\nwant %d\n% x", len(f), f[:min(len(f), 80)],
				len(got[i]), got[i][:min(len(got[i]), 80)], len(want[i]), want[i][:min(len(want[i]), 80)])
		}
	}
	r.ask(from(macTester, r.query(e99, cfgRead, "")))
}

// Thousands of random requests, seeded: right ones, wrong ones, edits, all mixed.
func TestServerAgreesWithTheModel(t *testing.T) {
	const seed = 1
	rng := rand.NewChaCha8([32]byte{seed})
	n := 0
	for round := range 200 {
		b := make([]byte, 4096)
		rng.Read(b)
		t.Run(fmt.Sprintf("seed %d round %d", seed, round), func(t *testing.T) {
			n += againstModel(t, &source{b}, 1000)
		})
	}
	t.Logf("%d requests", n)
}

// FuzzRequest lets a fuzzer make the requests.
func FuzzRequest(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 20 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Add([]byte{7, 60, 0, 2, 0, 0, 0, 0, 10, 2, 0, 0, 0, 0, 1, 0x88, 0xa2, 0x10, 0, 0, 1, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) { againstModel(t, &source{b}, 64) })
}
