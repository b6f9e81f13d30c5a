package e2e

import (
	little "encoding/binary" // binary is the program that is tested
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/initiator"
)

const (
	loadWriters = 8
	loadSlots   = 64 // blocks that are written, each by one writer
	loadBytes   = loadSlots * blockSize
)

// A load is several writers at once on one initiator's disk, who know for each
// block which versions it may have.
type load struct {
	disk   *initiator.Disk
	cached bool // a write is promised by a flush only
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	sent    [loadSlots]uint64 // the latest version that was sent
	acked   [loadSlots]uint64 // that was acknowledged
	flushed [loadSlots]uint64 // that was acknowledged before a flush that was
	life    int               // of the target's machine: how often its power has failed
	told    int               // how often a flush has said that writes are missing
	acks    int               // of writes
	flushes int
	more    chan struct{} // replaced and closed at each
}

// openDisk is an initiator of e1.1 in this process. Its caller closes it.
func (b *bed) openDisk(t *testing.T) *initiator.Disk {
	t.Helper()
	var port link.Link
	err := b.initiator.Do(func() (err error) {
		port, err = open.Open(b.initiator.Interface)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	disk, err := initiator.Open(within(t, patience), initiator.Config{Link: port, Addr: frame.Addr{Shelf: 1, Slot: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// startLoad opens e1.1 and writes to it, and flushes if so wanted, until the
// test ends. The target may come and go.
func (b *bed) startLoad(t *testing.T, flush bool) *load {
	t.Helper()
	l := &load{disk: b.openDisk(t), cached: flush, stop: make(chan struct{}), more: make(chan struct{})}
	for i := range uint64(loadWriters) {
		l.done.Go(func() { l.write(t, i) }) // ends with end, or when the disk fails
	}
	if flush {
		l.done.Go(func() { l.flush(t) }) // likewise
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

// end stops the writers, once their last writes are answered.
func (l *load) end(t *testing.T) {
	t.Helper()
	select {
	case <-l.stop:
		return
	default:
	}
	close(l.stop)
	l.done.Wait()
	if err := l.disk.Close(); err != nil {
		t.Error(err)
	}
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// write writes the blocks of one writer, each sector full of the version.
func (l *load) write(t *testing.T, writer uint64) {
	rng := rand.New(rand.NewPCG(writer, 0))
	b := make([]byte, blockSize)
	for version := uint64(1); !l.stopped(); version++ {
		slot := rng.Uint64N(loadSlots/loadWriters)*loadWriters + writer
		for i := 0; i < len(b); i += 16 {
			little.LittleEndian.PutUint64(b[i:], slot)
			little.LittleEndian.PutUint64(b[i+8:], version)
		}
		l.mu.Lock()
		l.sent[slot] = version
		life := l.life
		l.mu.Unlock()
		if _, err := l.disk.WriteAt(b, int64(slot)*blockSize); err != nil {
			t.Errorf("write: %v", err)
			return
		}
		l.mu.Lock()
		if life == l.life || !l.cached { // else it may have been acknowledged before the power failed
			l.acked[slot] = version
		}
		l.acks++
		l.tellLocked()
		l.mu.Unlock()
	}
}

// flush flushes. When it succeeds, what was acknowledged before is there for good,
// whatever has happened to the target meanwhile. When it says that it is not, that
// is so because the power has failed.
func (l *load) flush(t *testing.T) {
	for !l.stopped() {
		l.mu.Lock()
		now := l.acked
		l.mu.Unlock()
		err := l.disk.Flush(t.Context())
		l.mu.Lock()
		forgotten := errors.Is(err, initiator.ErrForgotten) && l.life > 0
		switch {
		case forgotten:
			l.told++
			l.acked = l.flushed
		case err == nil:
			for slot := range now {
				l.flushed[slot] = max(l.flushed[slot], now[slot])
			}
			l.flushes++
			l.tellLocked()
		}
		l.mu.Unlock()
		if err != nil && !forgotten {
			t.Errorf("flush: %v", err)
			return
		}
	}
}

// powerFailed says that what was acknowledged but not flushed may be gone. A write
// that is under way is not known to have been acknowledged later.
func (l *load) powerFailed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life++
}

func (l *load) tellLocked() {
	close(l.more)
	l.more = make(chan struct{})
}

// await waits for n more writes.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	l.until(t, &l.acks, n)
}

// awaitFlush waits for one more flush. One that a target took along is sent again
// after a while only: a flush may be slow (H6).
func (l *load) awaitFlush(t *testing.T) {
	t.Helper()
	l.until(t, &l.flushes, 1)
}

// until waits until a count is higher by n.
func (l *load) until(t *testing.T, count *int, n int) {
	t.Helper()
	deadline := time.After(patience)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n += *count; *count < n; {
		more := l.more
		l.mu.Unlock()
		select {
		case <-more:
			l.mu.Lock()
		case <-deadline:
			l.mu.Lock()
			t.Fatalf("%d acknowledgements are missing after %v", n-*count, patience)
		}
	}
}

// promised is the version that each block must have at least: what was
// acknowledged, or, with a write cache, flushed.
func (l *load) promised(flush bool) [loadSlots]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if flush {
		return l.flushed
	}
	return l.acked
}

// check compares each sector of image with what was promised, and what was sent.
// It returns how many blocks had a version at all.
func (l *load) check(t *testing.T, promised [loadSlots]uint64, image []byte) (written int) {
	t.Helper()
	l.mu.Lock()
	sent := l.sent
	l.mu.Unlock()
	for slot, least := range promised {
		for i := range blockSize / frame.SectorSize {
			sector := image[slot*blockSize+i*frame.SectorSize:][:frame.SectorSize]
			if err := checkSector(sector, uint64(slot), least, sent[slot]); err != nil {
				t.Errorf("block %d, sector %d: %v", slot, i, err)
			}
		}
		if least > 0 {
			written++
		}
	}
	return written
}

var (
	errTorn  = errors.New("parts of several writes in one sector")
	errLost  = errors.New("an older version than was promised")
	errAlien = errors.New("a version that was never sent here")
)

func checkSector(sector []byte, slot, least, most uint64) error {
	where, version := little.LittleEndian.Uint64(sector), little.LittleEndian.Uint64(sector[8:])
	for i := 16; i < len(sector); i += 16 {
		if little.LittleEndian.Uint64(sector[i:]) != where || little.LittleEndian.Uint64(sector[i+8:]) != version {
			return errTorn
		}
	}
	switch {
	case version < least:
		return errLost
	case version > most || version > 0 && where != slot:
		return errAlien
	}
	return nil
}
