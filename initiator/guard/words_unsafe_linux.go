package guard

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// words are the element of a shared array. The kernel keeps its pages in
// memory: they cannot be swapped out, and storing into them never faults once
// mmap(2) has entered them.
type words struct {
	mapped []byte
	word   []uint64
}

// mapWords maps the n words of the map fd.
func mapWords(fd, n int) (words, error) {
	m, err := unix.Mmap(fd, 0, 8*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return words{}, err
	}
	return words{m, unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(m))), n)}, nil
}

func (w words) store(i int, v uint64) { atomic.StoreUint64(&w.word[i], v) }
func (w words) claim(i int, v uint64) bool {
	return atomic.CompareAndSwapUint64(&w.word[i], 0, v)
}

// set sets or clears the bits of v, and leaves the others.
func (w words) set(i int, v uint64, on bool) {
	if on {
		atomic.OrUint64(&w.word[i], v)
	} else {
		atomic.AndUint64(&w.word[i], ^v)
	}
}

func (w words) load(i int) uint64 { return atomic.LoadUint64(&w.word[i]) }

func (w *words) unmap() error {
	if w.mapped == nil {
		return nil
	}
	m := w.mapped
	*w = words{}
	return unix.Munmap(m)
}
