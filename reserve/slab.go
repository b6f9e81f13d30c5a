package reserve

import "math/bits"

// A slab is one mapping of normal memory.
type slab struct {
	buffers []Buffer // headers of this slab, in Reserve.buffers
	mapping []byte   // nil while not mapped
	list    freeList
	usable  bool // mapped, and its buffers are in circulation
}

// slabs is the normal arena. Buffers are taken from the first slab that has
// one, so that under pressure the last ones fall idle and can be returned.
type slabs struct {
	all    []slab
	avail  []uint64 // a bit for each usable slab with a free buffer
	first  int32    // index of the first header
	per    int32    // buffers in a slab; the last may have fewer
	free   int      // buffers free in usable slabs
	mapped int      // buffers in usable slabs
	idle   int      // usable slabs with nothing in use
	budget int
}

func (s *slabs) init(per int, buffers []Buffer, first int32) {
	s.first, s.per, s.budget = first, int32(per), len(buffers)
	if per == 0 {
		return
	}
	s.all = make([]slab, (len(buffers)+per-1)/per)
	s.avail = make([]uint64, (len(s.all)+63)/64)
	for i := range buffers {
		buffers[i] = Buffer{index: first + int32(i), slab: int32(i / per), origin: FromNormal}
	}
	for i := range s.all {
		s.all[i].buffers = buffers[i*per : min(len(buffers), (i+1)*per)]
	}
}

// take pops a free buffer; there must be one.
func (s *slabs) take() *Buffer {
	for word, m := range s.avail {
		if m == 0 {
			continue
		}
		bit := bits.TrailingZeros64(m)
		sl := &s.all[word*64+bit]
		if sl.list.n == len(sl.buffers) {
			s.idle--
		}
		b := sl.list.pop()
		if sl.list.n == 0 {
			s.avail[word] &^= 1 << bit
		}
		s.free--
		return b
	}
	panic("reserve: normal memory counts free buffers but has none")
}

func (s *slabs) put(b *Buffer) {
	sl := &s.all[b.slab]
	sl.list.push(b)
	s.avail[b.slab/64] |= 1 << (b.slab % 64)
	s.free++
	if sl.list.n == len(sl.buffers) {
		s.idle++
	}
}

// add brings a slab that has just been mapped into circulation.
func (s *slabs) add(sl *slab, mapping []byte, l layout) {
	sl.mapping, sl.usable = mapping, true
	s.mapped += len(sl.buffers)
	for i := len(sl.buffers) - 1; i >= 0; i-- {
		b := &sl.buffers[i]
		b.Data = l.at(mapping, i)
		b.move(unmapped, free)
		s.put(b)
	}
}

// remove takes an idle slab out of circulation and returns its mapping, which
// stays recorded until the system has taken it back.
func (s *slabs) remove(sl *slab) []byte {
	for i := range sl.buffers {
		b := &sl.buffers[i]
		b.move(free, unmapped)
		b.Data, b.next = nil, nil
	}
	i := sl.buffers[0].slab
	s.avail[i/64] &^= 1 << (i % 64)
	s.free -= len(sl.buffers)
	s.mapped -= len(sl.buffers)
	s.idle--
	sl.list, sl.usable = freeList{}, false
	return sl.mapping
}

// absent is the first slab that is not mapped, or nil.
func (s *slabs) absent() *slab {
	for i := range s.all {
		if !s.all[i].usable {
			return &s.all[i]
		}
	}
	return nil
}

// idleOne is the last slab with nothing in use that has at most most buffers.
func (s *slabs) idleOne(most int) *slab {
	for i := len(s.all) - 1; i >= 0 && s.idle > 0; i-- {
		if sl := &s.all[i]; sl.usable && sl.list.n == len(sl.buffers) && len(sl.buffers) <= most {
			return sl
		}
	}
	return nil
}
