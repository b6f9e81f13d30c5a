package guard

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"

	"github.com/cilium/ebpf"
)

// A bench is a guard's program that is attached to nothing, and a disk.
type bench struct {
	*Guard
	program *ebpf.Program
	table   *Table
	pulse   *Pulse
}

func newBench(t testing.TB, allow string) *bench {
	t.Helper()
	rules, err := ParseRules(allow)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Config{Interface: "none", Allow: rules, LowBytes: -1, Stale: time.Second}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Guard: &Guard{cfg: cfg}, table: newTable(t, engine.DefaultSlots)}
	if b.clock, err = newClock(); err != nil {
		t.Fatal(err)
	}
	loadable(t, b.makeMaps())
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if b.program, err = b.Guard.program(true); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { b.program.Close() })
	if b.pulse, err = b.Add(b.table); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) passes(t testing.TB, data []byte) bool {
	t.Helper()
	ret, err := b.program.Run(runOptions(data))
	if err != nil {
		t.Fatalf("test run of %d bytes: %v", len(data), err)
	}
	if ret != xdpDrop && ret != xdpPass {
		t.Fatalf("returned %d", ret)
	}
	return ret == xdpPass
}

// foreign is a frame that nobody here waits for.
func foreign() []byte {
	b := make([]byte, 60)
	copy(b, ours[:])
	binary.BigEndian.PutUint16(b[12:], 0x88cc)
	return b
}

// TestGuardAgreesWithTheEngine: in crunch, of all frames of AoE exactly those
// pass that the engine admits; when memory is fine, everything does.
func TestGuardAgreesWithTheEngine(t *testing.T) {
	b := newBench(t, "")
	for seed := range uint64(10) {
		w := newWorld(t, b.table, seed)
		rng := rand.New(rand.NewPCG(seed, 5))
		for range 100 {
			w.step(byte(rng.Uint32()))
			if len(w.sent) == 0 {
				continue
			}
			frames := hostile(w, rng)
			rng.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
			for _, f := range frames[:40] {
				if len(f) < frame.EthernetLen {
					continue // the kernel gives XDP no such frame
				}
				want := w.engine.Admits(0, f)
				b.SetPressure(true)
				if got := b.passes(t, f); got != want {
					t.Fatalf("crunch: the engine admits it: %v, the guard passes it: %v: %s", want, got, frame.Describe(f))
				}
				b.SetPressure(false)
			}
			if !b.passes(t, foreign()) {
				t.Fatal("a foreign frame is dropped though memory is fine")
			}
		}
	}
	s := b.Stats()
	if s.Answers < 1000 || s.DroppedAoE < 1000 || s.Announcements < 100 || s.Passed < 100 {
		t.Errorf("too few of some kind to say anything: %+v", s)
	}
}

// TestGuardFailsSafe: foreign frames pass before the disk begins, and then only
// as long as its loop tells that it works and that memory is fine.
func TestGuardFailsSafe(t *testing.T) {
	b := newBench(t, "")
	check := func(want bool, when string) {
		t.Helper()
		if got := b.passes(t, foreign()); got != want {
			t.Errorf("%s: a foreign frame passes: %v, want %v", when, got, want)
		}
		if s := b.Stats(); (s.Crunch == "") != want {
			t.Errorf("%s: crunch because %q", when, s.Crunch)
		}
	}
	check(true, "before the disk begins")
	b.pulse.Beat(false)
	check(true, "after a beat")
	b.SetPressure(true)
	check(false, "told from outside that memory is short")
	b.SetPressure(false)
	check(true, "told that it is fine again")

	b.pulse.Beat(true)
	check(false, "the disk finds memory short")
	b.pulse.Beat(false)
	check(false, "it was short a moment ago")
	b.clock.start = b.clock.start.Add(-shortFor) // time passes
	b.words.store(wordBeat(0), 0)                // not for the kernel
	b.pulse.Beat(false)
	b.clock.start = b.clock.start.Add(shortFor)
	b.pulse.wasShort = 0
	b.pulse.Beat(false)
	check(true, "a while after it was short")

	old := b.clock.now() - uint64(b.cfg.Stale)
	b.words.store(wordBeat(0), old)
	check(false, "the last beat is as old as is believed")
	b.words.store(wordBeat(0), old+uint64(b.cfg.Stale/2))
	check(true, "the last beat is half as old")

	second, err := NewTable(frame.Addr{Shelf: 9, Slot: 9}, engine.DefaultSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	pulse, err := b.Add(second)
	if err != nil {
		t.Fatal(err)
	}
	b.pulse.Beat(false)
	check(true, "the second disk has not begun")
	b.words.store(wordBeat(pulse.index), old)
	check(false, "the second disk's loop hangs")
	b.words.store(wordBeat(pulse.index), b.clock.now())
	b.words.store(wordBeat(0), old)
	check(false, "the first disk's loop hangs")
	b.pulse.Beat(false)
	check(true, "both work")
	b.words.store(wordBeat(pulse.index), old)
	if err := pulse.Close(); err != nil {
		t.Fatal(err)
	}
	check(true, "the second disk was closed")
	if got := b.Stats().Crunches; got != 1 {
		t.Errorf("%d crunches were counted, want 1", got)
	}
}

// TestGuardKnowsItsDisks: each disk's answers by its own table.
func TestGuardKnowsItsDisks(t *testing.T) {
	b := newBench(t, "")
	other := frame.Addr{Shelf: 7, Slot: 1}
	second, err := NewTable(other, engine.DefaultSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	answer := func(a frame.Addr, tag uint32) []byte {
		h := frame.Header{Dst: ours, Src: theirs, Flags: frame.FlagResponse, Addr: a, Tag: tag}
		return frame.Pad(h.Append(nil))
	}
	for _, table := range []*Table{b.table, second} {
		table.SetPaths(ours, []frame.MAC{theirs})
	}
	b.table.SetTags(5, 100, 2, 0)
	second.SetTags(6, 200, 1, 0)
	b.SetPressure(true)
	check := func(what string, data []byte, want bool) {
		t.Helper()
		if got := b.passes(t, data); got != want {
			t.Errorf("%s passes: %v, want %v", what, got, want)
		}
	}
	check("the first disk's answer", answer(disk, 101<<12|5), true)
	check("the first disk's, of a generation that is not", answer(disk, 102<<12|5), false)
	check("the second disk's, which nobody has added", answer(other, 200<<12|6), false)
	pulse, err := b.Add(second)
	if err != nil {
		t.Fatal(err)
	}
	check("the second disk's, once it is added", answer(other, 200<<12|6), true)
	check("the first disk's tag from the second", answer(other, 101<<12|5), false)
	check("the second disk's tag from the first", answer(disk, 200<<12|6), false)
	if _, err := b.Add(second); err == nil {
		t.Error("a disk can be added twice")
	}
	if err := pulse.Close(); err != nil {
		t.Fatal(err)
	}
	check("the second disk's, once it is closed", answer(other, 200<<12|6), false)
}

// TestBeatAllocatesNothing: the loop calls it in every turn.
func TestBeatAllocatesNothing(t *testing.T) {
	b := newBench(t, "")
	b.watch(t, 1)
	if n := testing.AllocsPerRun(1000, func() { b.pulse.looked = 0; b.pulse.Beat(false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLowMark: free memory is below no mark on a machine that runs tests, and
// below one that is all there is.
func TestLowMark(t *testing.T) {
	mark, err := lowMark()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, "")
	b.watch(t, 1)
	b.free = mark
	if mark < 64<<10 || b.pulse.isLow() {
		t.Errorf("the mark is %d bytes; below it: %v", mark, b.pulse.isLow())
	}
	b.free = 1 << 60
	if !b.pulse.isLow() {
		t.Error("a mark above all memory is not reached")
	}
	b.free = mark
	b.pulse.memory.low = 1 << 60
	if !b.pulse.isLow() {
		t.Error("less is available than all memory there could be, and that is fine")
	}
}

// watch lets the pulse look at the machine's memory, which is short below low.
func (b *bench) watch(t testing.TB, low int64) {
	t.Helper()
	m, err := openMemory(low)
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.LowBytes, b.pulse.memory = low, m // which the pulse closes
}

func BenchmarkBeat(b *testing.B) {
	x := newBench(b, "")
	x.watch(b, 1)
	for range b.N {
		x.pulse.Beat(false)
	}
}

// BenchmarkGuardDrops is what a foreign frame costs in crunch, before an allow
// list and behind one.
func BenchmarkGuardDrops(b *testing.B) {
	for _, allow := range []string{"", "arp,tcp:22@10.0.0.1,icmp@10.0.0.0/8"} {
		b.Run("allow="+allow, func(b *testing.B) {
			x := newBench(b, allow)
			x.SetPressure(true)
			o := runOptions(ipPacket(netip.MustParseAddr("10.0.0.2"), protoTCP, 22, nil))
			o.Repeat = uint32(b.N)
			if ret, err := x.program.Run(o); err != nil || ret != xdpDrop {
				b.Fatal(ret, err)
			}
		})
	}
}
