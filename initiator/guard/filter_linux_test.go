package guard

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"aoe/frame"
)

// hostile are frames around what the world has outstanding: the answer itself,
// and answers that are wrong in one field, or in one bit.
func hostile(w *world, rng *rand.Rand) (all [][]byte) {
	for back := range 12 {
		b := w.answer(back)
		all = append(all, b)
		for range 6 {
			wrong := bytes.Clone(b)
			wrong[rng.IntN(frame.HeaderLen)] ^= 1 << rng.IntN(8)
			all = append(all, wrong)
		}
		flags := bytes.Clone(b)
		flags[14] = flags[14]&0xf0 | byte(rng.IntN(16))
		all = append(all, flags)
		forged := bytes.Clone(b)
		frame.PutTag(forged, rng.Uint32())
		all = append(all, forged)
		next := bytes.Clone(b) // the generation behind
		frame.PutTag(next, (binary.BigEndian.Uint32(b[frame.TagOffset:])+w.slots)&^(1<<31))
		all = append(all, next)
	}
	b := w.answer(0)
	zero := bytes.Clone(b)
	frame.PutTag(zero, 0)
	announcement := w.target.Announcement()
	refused := bytes.Clone(announcement)
	refused[14] |= frame.FlagError
	flags := bytes.Clone(announcement)
	flags[14] = flags[14]&0xf0 | byte(rng.IntN(16))
	command := bytes.Clone(announcement) // no tag, and not of a query
	command[19] = 0
	reserved := bytes.Clone(announcement)
	reserved[14] |= 1 // a flag that has no meaning
	other := bytes.Clone(announcement)
	copy(other, []byte{2, 9, 9, 9, 9, 9})
	return append(all, b[:14], b[:23], b[:24], b[:1], zero, announcement, refused, flags, command, reserved, other, w.sent[len(w.sent)-1])
}

// agree compares the filter with the engine.
func agree(t testing.TB, table *Table, w *world, b []byte) {
	t.Helper()
	if want := w.engine.Admits(0, b); keeps(t, table.filter, b) != want {
		t.Fatalf("the engine admits it: %v, the filter keeps it: %v: %s\n% x", want, !want, frame.Describe(b), b[:min(len(b), 40)])
	}
}

// TestFilterAgreesWithTheEngine: at any moment of a life with losses, late
// answers, fences, changes of the port and announcements, the filter keeps what
// the engine admits, and nothing else.
func TestFilterAgreesWithTheEngine(t *testing.T) {
	for _, slots := range []int{8, 64, 4096} {
		table := newTable(t, slots)
		kept, dropped := 0, 0
		for seed := range uint64(12) {
			w := newWorld(t, table, seed)
			rng := rand.New(rand.NewPCG(seed, 3))
			for range 150 {
				w.step(byte(rng.Uint32()))
				if len(w.sent) == 0 {
					continue
				}
				for range 3 {
					all := hostile(w, rng)
					b := all[rng.IntN(len(all))]
					agree(t, table, w, b)
					if w.engine.Admits(0, b) {
						kept++
					} else {
						dropped++
					}
				}
			}
		}
		if kept < 200 || dropped < 200 {
			t.Errorf("%d slots: %d frames kept and %d dropped: too few to say anything", slots, kept, dropped)
		}
		t.Logf("%d slots: %d kept, %d dropped: %+v", slots, kept, dropped, table.Stats())
	}
}

// FuzzFilterAgreesWithTheEngine: the same for any script and any frame. Odd
// frames are XORed with an answer, so that few bits of them are wrong.
func FuzzFilterAgreesWithTheEngine(f *testing.F) {
	table := newTable(f, 64)
	f.Add([]byte{0, 0, 5, 12, 12, 0}, make([]byte, 24), byte(1))
	f.Add([]byte{1, 13, 12, 5, 30, 0, 0}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}, byte(3))
	f.Add([]byte{0}, initAnnouncement(), byte(0))
	f.Fuzz(func(t *testing.T, script, b []byte, how byte) {
		if len(b) == 0 || len(b) > 1500 || len(script) > 200 {
			return
		}
		w := newWorld(t, table, 1)
		for _, s := range script {
			w.step(s)
		}
		if how&1 != 0 {
			x := w.answer(int(how / 2))
			for i := range min(len(x), len(b)) {
				x[i] ^= b[i]
			}
			b = x
		}
		agree(t, table, w, b)
	})
}

func initAnnouncement() []byte {
	h := frame.Header{Dst: frame.Broadcast, Src: theirs, Flags: frame.FlagResponse, Addr: disk, Command: 1}
	return frame.Pad(frame.Config{BufferCount: 1}.Append(h.Append(nil)))
}

// TestFilterWhileTheDiskIsLookedFor: before the engine there is, the answers of
// the address pass, whoever sends them and whatever their tag; nobody else's do.
func TestFilterWhileTheDiskIsLookedFor(t *testing.T) {
	table := newTable(t, 64)
	header := frame.Header{Dst: ours, Src: frame.MAC{2, 7}, Flags: frame.FlagResponse, Addr: disk, Tag: 77}
	for _, row := range []struct {
		name   string
		change func(*frame.Header)
		keep   bool
	}{
		{"an answer", func(*frame.Header) {}, true},
		{"a refusal", func(h *frame.Header) { h.Flags |= frame.FlagError }, true},
		{"another disk's", func(h *frame.Header) { h.Addr.Slot++ }, false},
		{"another shelf's", func(h *frame.Header) { h.Addr.Shelf++ }, false},
		{"a request", func(h *frame.Header) { h.Flags = 0 }, false},
		{"another version", func(h *frame.Header) { h.Version = 2 }, false},
	} {
		h := header
		row.change(&h)
		if got := keeps(t, table.filter, frame.Pad(h.Append(nil))); got != row.keep {
			t.Errorf("%s: kept %v, want %v", row.name, got, row.keep)
		}
	}
	table.SetPaths(ours, []frame.MAC{theirs})
	if keeps(t, table.filter, frame.Pad(header.Append(nil))) {
		t.Error("once the disk is found, an answer to nothing passes")
	}
	table.Ask()
	if !keeps(t, table.filter, frame.Pad(header.Append(nil))) {
		t.Error("when the disk is looked for again, an answer does not pass")
	}
}

// TestFilterDropsWhatIsForAnotherHost: what a port hears because it hears
// everything.
func TestFilterDropsWhatIsForAnotherHost(t *testing.T) {
	table := newTable(t, 64)
	b := initAnnouncement()
	if !keeps(t, table.filter, b) {
		t.Fatal("an announcement is not kept")
	}
	elsewhere := append([]byte{2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, b...)
	if ret, err := table.filter.Run(runOptions(elsewhere)); err != nil || ret != 0 {
		t.Errorf("kept: %v, %v", ret, err)
	}
	if s := table.Stats(); s.Elsewhere != 1 || s.Asked != 1 {
		t.Errorf("counted as %+v", s)
	}
}

// TestTagsAreStoresOnly: what the loop does for each frame allocates nothing.
func TestTagsAreStoresOnly(t *testing.T) {
	table := newTable(t, 4096)
	n := testing.AllocsPerRun(1000, func() {
		table.SetTags(17, 12345, 3, 0)
		table.SetTags(17, 0, 0, 0)
		table.SetPaths(ours, []frame.MAC{theirs})
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSetTags(b *testing.B) {
	table := newTable(b, 4096)
	for i := range b.N {
		table.SetTags(int32(i&4095), 12345, 3, 0)
	}
}

// BenchmarkFilter is what the filter costs a frame that it keeps.
func BenchmarkFilter(b *testing.B) {
	table := newTable(b, 4096)
	w := newWorld(b, table, 1)
	w.step(0)
	o := runOptions(append(make([]byte, frame.EthernetLen), w.answer(0)...))
	o.Repeat = uint32(b.N)
	if ret, err := table.filter.Run(o); err != nil || ret == 0 {
		b.Fatal(ret, err)
	}
}
