package store

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
)

// chunkSize is the unit in which a memory store takes memory, in bytes. What
// was never written, or was trimmed, takes none.
const chunkSize = 64 << 10

// A memory is a disk that ends with the process.
type memory struct {
	size     int64
	identity string
	closed   atomic.Bool
	chunks   []chunk
}

type chunk struct {
	mu   sync.RWMutex
	data []byte // nil is all zeros
}

// Memory makes a store of size bytes in memory, rounded down to whole sectors;
// all of it reads as zeros, and memory is taken as it is written. Each has an
// identity of its own. A negative size panics.
func Memory(size int64) Store {
	if size < 0 {
		panic("store: memory of negative size")
	}
	size -= size % SectorSize
	id := make([]byte, 10)
	rand.Read(id) // never fails: crypto/rand
	return &memory{
		size:     size,
		identity: fmt.Sprintf("memory %x", id),
		chunks:   make([]chunk, (size+chunkSize-1)/chunkSize),
	}
}

func (m *memory) Size() (int64, error) { return m.size, nil }

func (m *memory) Info() Info {
	return Info{Name: "memory", Identity: m.identity, PhysicalBlock: 4096, Trim: true, TrimZeroes: true, Volatile: true}
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if !inside(off, len(p), m.size) {
		return 0, ErrRange
	}
	for done := 0; done < len(p); {
		c, from := m.at(off + int64(done))
		c.mu.RLock()
		n := 0
		if c.data != nil {
			n = copy(p[done:], c.data[from:])
		} else {
			n = min(len(p)-done, chunkSize-from)
			clear(p[done : done+n])
		}
		c.mu.RUnlock()
		done += n
	}
	return len(p), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if !inside(off, len(p), m.size) {
		return 0, ErrRange
	}
	for done := 0; done < len(p); {
		c, from := m.at(off + int64(done))
		c.mu.Lock()
		if c.data == nil {
			c.data = make([]byte, chunkSize)
		}
		done += copy(c.data[from:], p[done:])
		c.mu.Unlock()
	}
	return len(p), nil
}

// at is the chunk that holds the byte at off, and where in it.
func (m *memory) at(off int64) (*chunk, int) {
	return &m.chunks[off/chunkSize], int(off % chunkSize)
}

func (m *memory) Trim(off, n int64) error {
	if n < 0 || off < 0 || off > m.size || n > m.size-off {
		return ErrRange
	}
	for n > 0 {
		c, from := m.at(off)
		cut := min(n, int64(chunkSize-from))
		c.mu.Lock()
		if cut == chunkSize {
			c.data = nil
		} else if c.data != nil {
			clear(c.data[from : from+int(cut)])
		}
		c.mu.Unlock()
		off, n = off+cut, n-cut
	}
	return nil
}

func (m *memory) Sync() error { return nil }

// ReadNow implements Prompt.
func (m *memory) ReadNow(p []byte, off int64) error {
	_, err := m.ReadAt(p, off)
	return err
}

// WriteNow implements Prompt.
func (m *memory) WriteNow(p []byte, off int64) error {
	_, err := m.WriteAt(p, off)
	return err
}

// SyncNow implements Prompt.
func (m *memory) SyncNow() error { return nil }

// ReadAllNow implements Gatherer.
func (m *memory) ReadAllNow(bufs [][]byte, off int64) error { return OneByOne(bufs, off, m.ReadNow) }

// WriteAllNow implements Gatherer.
func (m *memory) WriteAllNow(bufs [][]byte, off int64) error { return OneByOne(bufs, off, m.WriteNow) }

// WriteAll implements Gatherer.
func (m *memory) WriteAll(bufs [][]byte, off int64) error { return OneByOne(bufs, off, m.WriteNow) }

// Close lets the memory go.
func (m *memory) Close() error {
	if !m.closed.Swap(true) {
		m.chunks = nil
	}
	return nil
}
