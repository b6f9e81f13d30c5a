package store

// MaxGather is how many buffers a Gatherer takes at once.
const MaxGather = 32

// A Gatherer is a Prompt store that does with one call what lies one behind the
// other: at most MaxGather buffers, the first at off. An error says nothing of any
// one of them, and some may be read or written: ask for each on its own.
type Gatherer interface {
	Prompt
	// ReadAllNow fills the buffers without waiting, WriteAllNow writes them, or
	// they return ErrWouldBlock.
	ReadAllNow(bufs [][]byte, off int64) error
	WriteAllNow(bufs [][]byte, off int64) error
	// WriteAll writes them, waiting as long as it takes.
	WriteAll(bufs [][]byte, off int64) error
}

var _, _ Gatherer = (*file)(nil), (*memory)(nil)

// OneByOne calls do for each of the buffers, the first at off, until one fails: for a
// Gatherer that gains nothing by a call for all.
func OneByOne(bufs [][]byte, off int64, do func(p []byte, off int64) error) error {
	for _, b := range bufs {
		if err := do(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// total is the length of the buffers together.
func total(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// ReadAllNow implements Gatherer.
func (s *file) ReadAllNow(bufs [][]byte, off int64) error {
	n := total(bufs)
	if !inside(off, n, s.size.Load()) {
		return ErrRange
	}
	if s.direct != nil || s.prompt == waits || s.prompt == asksKernel && s.noQuick.Load() {
		return ErrWouldBlock
	}
	if got, err := s.readTogether(bufs, s.cfg.Offset+off, s.prompt != inMemory); got < n || err != nil {
		return ErrWouldBlock // whoever asks for each finds out what it was
	}
	return nil
}

// WriteAllNow implements Gatherer.
func (s *file) WriteAllNow(bufs [][]byte, off int64) error {
	if s.prompt != inMemory {
		return ErrWouldBlock
	}
	return s.WriteAll(bufs, off)
}

// WriteAll implements Gatherer.
func (s *file) WriteAll(bufs [][]byte, off int64) error {
	n := total(bufs)
	switch {
	case s.cfg.ReadOnly:
		return ErrReadOnly
	case !inside(off, n, s.size.Load()):
		return ErrRange
	case s.direct != nil:
		return ErrWouldBlock // copies what is not aligned, one at a time
	}
	if done, err := s.writeTogether(bufs, s.cfg.Offset+off); done < n {
		return unexpected(err)
	}
	return nil
}
