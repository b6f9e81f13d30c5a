package target

import (
	"hash/maphash"
	"testing"
	"time"

	"aoe/frame"
)

// A saying is a write with the given tag from the given sender that says word, as
// it arrives when the memory is new.
func saying(m *recent, src byte, tag uint32, word byte) *claim {
	c := &claim{arrived: m.start, src: frame.MAC{2, 0, 0, 0, 0, src}, tag: tag, what: doWrite, changes: true, ata: frame.ATA{Count: 1}}
	b := make([]byte, frame.ATADataOffset+frame.SectorSize)
	copy(b[sourceOffset:], c.src[:])
	frame.PutTag(b, tag)
	b[len(b)-1] = word
	c.n = len(b)
	c.digest = m.digest(c, b)
	return c
}

// add remembers that c was written as soon as it arrived.
func add(m *recent, c *claim) { m.addLocked(c, c.arrived, false) }

// knows reports whether c is known to have been written.
func knows(m *recent, c *claim) bool {
	how, known := m.knowsLocked(c)
	return known && how == succeeded
}

// TestH1RecentWritesAreKnownForAWhile, by all that they say, and no longer.
func TestH1RecentWritesAreKnownForAWhile(t *testing.T) {
	m := newRecent(64, time.Minute)
	w := saying(&m, 1, 5, 'a')
	if knows(&m, w) {
		t.Fatal("known before it was written")
	}
	add(&m, w)
	for _, row := range []struct {
		name string
		c    *claim
		want bool
	}{
		{"itself", saying(&m, 1, 5, 'a'), true},
		{"other data", saying(&m, 1, 5, 'b'), false},
		{"another tag", saying(&m, 1, 6, 'a'), false},
		{"another sender", saying(&m, 2, 5, 'a'), false},
	} {
		if got := knows(&m, row.c); got != row.want {
			t.Errorf("%s: known %v, want %v", row.name, got, row.want)
		}
	}
	w.arrived = w.arrived.Add(2 * time.Minute) // another copy, two minutes later
	if knows(&m, w) {
		t.Error("still known when no copy can be alive")
	}
}

// TestH4WhoReusesTagsIsNotGuarded: it may say twice what it means twice.
func TestH4WhoReusesTagsIsNotGuarded(t *testing.T) {
	m := newRecent(64, time.Minute)
	add(&m, saying(&m, 1, 5, 'a'))
	add(&m, saying(&m, 2, 5, 'a'))
	add(&m, saying(&m, 1, 5, 'b')) // the tag again
	add(&m, saying(&m, 1, 6, 'c'))
	if knows(&m, saying(&m, 1, 5, 'b')) || knows(&m, saying(&m, 1, 6, 'c')) {
		t.Error("guarded although it uses tags again")
	}
	if !knows(&m, saying(&m, 2, 5, 'a')) {
		t.Error("another initiator lost its guard too")
	}
}

// The memory is bounded, and the oldest are forgotten first.
func TestRecentForgetsTheOldest(t *testing.T) {
	const writes = 1024
	m := newRecent(writes, time.Minute)
	if n := len(m.buckets) * recentWays; n != writes {
		t.Fatalf("room for %d, want %d", n, writes)
	}
	for tag := range uint32(10 * writes) {
		c := saying(&m, 1, tag, 'x')
		c.arrived = m.start.Add(time.Duration(tag))
		add(&m, c)
	}
	for tag := range uint32(10 * writes) {
		known := knows(&m, saying(&m, 1, tag, 'x'))
		if age := 10*writes - int(tag); known && age > 4*writes {
			t.Fatalf("known after %d writes", age)
		} else if !known && age <= writes/4 {
			t.Fatalf("forgotten after %d writes", age)
		}
	}
}

// A negative number remembers nothing.
func TestRecentSwitchedOff(t *testing.T) {
	m := newRecent(-1, time.Minute)
	w := saying(&m, 1, 5, 'a')
	add(&m, w)
	if w.digest != 0 || knows(&m, w) {
		t.Error("it remembers")
	}
}

// BenchmarkDigest: what the memory of recent writes costs for each of 8 KiB, next to
// the standard library's hash.
func BenchmarkDigest(b *testing.B) {
	m := newRecent(64, time.Minute)
	c := &claim{changes: true, ata: frame.ATA{Count: 16}}
	f := make([]byte, frame.ATADataOffset+int(c.ata.Count)*frame.SectorSize)
	b.Run("xxh3", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		for b.Loop() {
			m.digest(c, f)
		}
	})
	seed := maphash.MakeSeed()
	b.Run("maphash", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		for b.Loop() {
			maphash.Bytes(seed, f[sourceOffset:])
		}
	})
}
