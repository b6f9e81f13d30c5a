package initiatortest

import "aoe/frame"

// A cache is what was acknowledged since the last flush: for each sector that was
// written, what was on stable storage before.
type cache map[uint64][frame.SectorSize]byte

// change takes note that n sectors from lba are about to be changed.
func (c *cache) change(t *Target, lba, n uint64) {
	if t.cfg.Verifier == 0 {
		return // it does as if it never forgot
	}
	if t.cfg.WriteThrough {
		for i := range n {
			delete(*c, lba+i)
		}
		return
	}
	if *c == nil {
		*c = cache{}
	}
	for i := lba; i < lba+n; i++ {
		if _, known := (*c)[i]; !known {
			(*c)[i] = [frame.SectorSize]byte(t.data[i*frame.SectorSize:])
		}
	}
}

func (c *cache) flush() { clear(*c) }

// PowerFails forgets of what was not flushed what lose says, which is asked for
// each sector, in order, and which frames were seen before. It does not change
// the verifier.
func (t *Target) PowerFails(lose func(sector uint64) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.cfg.Sectors {
		if stable, cached := t.cache[i]; cached && lose(i) {
			copy(t.data[i*frame.SectorSize:], stable[:])
		}
	}
	t.cache.flush()
	clear(t.recent)
	t.oldest = nil
}

// Stable copies n bytes of the disk from offset off, a multiple of a sector, as
// they would be if the power failed now.
func (t *Target) Stable(off, n int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := append([]byte(nil), t.data[off:off+n]...)
	for i := 0; i < n; i += frame.SectorSize {
		if stable, cached := t.cache[uint64(off+i)/frame.SectorSize]; cached {
			copy(b[i:], stable[:])
		}
	}
	return b
}

// acknowledge is the answer to a change that was made.
func (t *Target) acknowledge(b []byte) []byte {
	if t.cfg.WriteThrough {
		return t.result(b, frame.StatusDRDY, 0, 0)
	}
	return t.verify(b)
}

// verify is an answer that says all is well, with the verifier.
func (t *Target) verify(b []byte) []byte {
	b = t.result(b, frame.StatusDRDY, 0, 0)
	if t.cfg.Verifier != 0 {
		frame.PutVerifier(b, t.cfg.Verifier)
	}
	return b
}
