package target

import (
	"math/rand/v2"
	"time"

	"github.com/zeebo/xxh3"

	"aoe/frame"
)

// recentWays is how many writes share a place in the memory of recent writes.
const recentWays = 8

// copyLife is how long a copy of a frame can be under way, with a wide margin:
// switches hold frames for milliseconds, and one that has lost its way round
// a loop for seconds.
const copyLife = 10 * time.Second

// sourceOffset is that of the sender's MAC, behind the destination's.
const sourceOffset = 6

// recent is a disk's bounded memory of what it has written (H1). A copy of a
// write can be under way for a while, on a longer path or in a clogged switch,
// and arrive when the write was answered long ago and another to the same
// sectors too. Carried out, it would undo that one. So it is answered, once
// more, and nothing else: it is known by sender, tag and all that it says.
//
// An initiator that uses a tag again for something else while copies of the first
// may be alive (H4) is not guarded: what it says twice it may mean twice, and
// what it writes is not ours to lose.
//
// It belongs to the disk and its lock, except for digest.
type recent struct {
	life    time.Duration // how long a copy can be under way
	start   time.Time
	seed    uint64 // of the digests, unlike any other memory's
	buckets [][recentWays]wrote
	reusers [16]frame.MAC // that use tags again, the latest
	reuser  int           // the place for the next
}

// wrote is a write or trim that was answered, or failed: a copy of that would
// undo what was written after it as well. digest is of the whole frame but for
// its destination and what follows its data.
type wrote struct {
	digest uint64
	at     time.Duration // after start; 0: nothing is here
	tag    uint32
	src    frame.MAC
	failed bool
}

// newRecent remembers about that many writes, for so long at most. None makes no
// memory.
func newRecent(writes int, life time.Duration) recent {
	if writes <= 0 {
		return recent{}
	}
	n := 1
	for n*recentWays < writes {
		n *= 2
	}
	return recent{life: life, start: time.Now(), seed: rand.Uint64(), buckets: make([][recentWays]wrote, n)}
}

// since is when an event was, after start, never 0.
func (m *recent) since(at time.Time) time.Duration { return max(at.Sub(m.start), 1) }

// digest is that of the write or trim c in b. It takes no lock: the sum over the
// data is the long part.
func (m *recent) digest(c *claim, b []byte) uint64 {
	if m.buckets == nil || !c.changes {
		return 0
	}
	n := frame.ATADataOffset + int(c.ata.Count)*frame.SectorSize
	return xxh3.HashSeed(b[sourceOffset:min(n, len(b))], m.seed)
}

// bucket is where writes of that sender and tag are.
func (m *recent) bucket(c *claim) *[recentWays]wrote {
	x := uint64(c.tag) * 0x9e3779b97f4a7c15
	return &m.buckets[x>>32&uint64(len(m.buckets)-1)]
}

// knowsLocked reports whether c, which has just arrived, is a copy of a write that
// was answered, and how.
func (m *recent) knowsLocked(c *claim) (how outcome, known bool) {
	if m.buckets == nil {
		return outcome{}, false
	}
	w, found := m.place(c)
	if !found || w.digest != c.digest || m.since(c.arrived)-w.at > m.life || m.reuses(c.src) {
		return outcome{}, false
	}
	if w.failed {
		return deviceFailed, true
	}
	return succeeded, true
}

// place is where the latest write of c's sender and tag is, or, if none is
// remembered, where one goes: in the place of the oldest.
func (m *recent) place(c *claim) (w *wrote, found bool) {
	b := m.bucket(c)
	w = &b[0]
	for i := range b {
		if b[i].at != 0 && b[i].tag == c.tag && b[i].src == c.src {
			return &b[i], true
		}
		if b[i].at < w.at {
			w = &b[i]
		}
	}
	return w, false
}

// addLocked remembers c, which is about to be answered.
func (m *recent) addLocked(c *claim, at time.Time, failed bool) {
	if m.buckets == nil {
		return
	}
	now := m.since(at)
	w, found := m.place(c)
	if found && w.digest != c.digest && now-w.at <= m.life && !m.reuses(c.src) {
		m.reusers[m.reuser] = c.src
		m.reuser = (m.reuser + 1) % len(m.reusers)
	}
	*w = wrote{digest: c.digest, at: now, tag: c.tag, src: c.src, failed: failed}
}

// reuses reports whether src was seen to use a tag for something else while a
// copy of what it was used for could still be under way (H4).
func (m *recent) reuses(src frame.MAC) bool {
	for i := range m.reusers {
		if m.reusers[i] == src {
			return src != frame.MAC{}
		}
	}
	return false
}
