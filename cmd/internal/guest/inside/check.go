package inside

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Check writes a pattern to a disk or file from several sides at once, past the
// page cache, and looks whether it is there.
type Check struct {
	Path string
	// Offset and Bytes are the part of it that is used, in whole pages.
	Offset, Bytes int64
	Seed          uint64 // of the pattern and of the order
	// Rounds is how often the random part touches as many pages as there are. Zero
	// means 1, negative none.
	Rounds int
	// Workers is how many do that at once, each in a part of its own. Zero means 8.
	Workers int
}

// maxExtent is the largest request, in pages.
const maxExtent = 32

func (c Check) withDefaults() (Check, error) {
	if c.Rounds == 0 {
		c.Rounds = 1
	}
	if c.Workers == 0 {
		c.Workers = 8
	}
	if c.Offset < 0 || c.Offset%pageBytes != 0 || c.Bytes%pageBytes != 0 || c.Bytes < int64(c.Workers)*maxExtent*pageBytes {
		return c, fmt.Errorf("inside: check %d bytes at %d: want whole pages, and %d for each of %d workers",
			c.Bytes, c.Offset, maxExtent, c.Workers)
	}
	return c, nil
}

// A disk is what a Check looks at.
type disk interface {
	io.ReaderAt
	io.WriterAt
}

// A checker is one of a Check's workers.
type checker struct {
	disk        disk
	offset      int64 // of its part
	first       int   // page of its part, counted from the Check's offset
	seed, rng   uint64
	generations []uint8
	buf         []byte            // of maxExtent pages, as O_DIRECT wants it
	words       [pageWords]uint64 // a page of it
	now         func() time.Time
	worst       time.Duration // that one request took
}

// run writes everything, reads everything, touches pages at random, half of
// which it writes anew, and reads everything again.
func (c *checker) run(rounds int) error {
	all := func(touch func(page, pages int) error) error {
		for page := 0; page < len(c.generations); {
			pages := min(1+int(c.random()%maxExtent), len(c.generations)-page)
			if err := touch(page, pages); err != nil {
				return err
			}
			page += pages
		}
		return nil
	}
	if err := all(c.write); err != nil {
		return err
	}
	if err := all(c.verify); err != nil {
		return err
	}
	for touched := 0; touched < rounds*len(c.generations); {
		r := c.random()
		page := int(r >> 16 % uint64(len(c.generations)))
		pages := min(1+int(r>>8&0xff)%maxExtent, len(c.generations)-page)
		touch := c.verify
		if r&1 == 0 {
			touch = c.write
		}
		if err := touch(page, pages); err != nil {
			return err
		}
		touched += pages
	}
	return all(c.verify)
}

func (c *checker) write(page, pages int) error {
	for i := range pages {
		c.generations[page+i]++
		newPattern(c.seed, c.first+page+i, c.generations[page+i]).write(&c.words)
		for w, word := range c.words {
			binary.LittleEndian.PutUint64(c.buf[i*pageBytes+8*w:], word)
		}
	}
	return c.timed(func() error {
		_, err := c.disk.WriteAt(c.buf[:pages*pageBytes], c.offset+int64(page)*pageBytes)
		return err
	})
}

func (c *checker) verify(page, pages int) error {
	err := c.timed(func() error {
		_, err := c.disk.ReadAt(c.buf[:pages*pageBytes], c.offset+int64(page)*pageBytes)
		return err
	})
	for i := 0; i < pages && err == nil; i++ {
		for w := range c.words {
			c.words[w] = binary.LittleEndian.Uint64(c.buf[i*pageBytes+8*w:])
		}
		err = wrongPage(&c.words, c.seed, c.first+page+i, c.generations[page+i])
	}
	return err
}

func (c *checker) timed(request func() error) error {
	before := c.now()
	err := request()
	c.worst = max(c.worst, c.now().Sub(before))
	return err
}

func (c *checker) random() uint64 {
	c.rng += 0x9e3779b97f4a7c15
	return mix(c.rng)
}

// check lets the workers run on d. buffer makes a buffer for each.
func (c Check) check(d disk, buffer func(bytes int) ([]byte, error)) (worst time.Duration, err error) {
	if c, err = c.withDefaults(); err != nil {
		return 0, err
	}
	pages := int(c.Bytes / pageBytes)
	workers := make([]*checker, c.Workers)
	for i := range workers {
		from, to := pages*i/c.Workers, pages*(i+1)/c.Workers
		w := &checker{
			disk: d, offset: c.Offset + int64(from)*pageBytes, first: from, seed: c.Seed, rng: mix(c.Seed + uint64(i)),
			generations: make([]uint8, to-from), now: time.Now,
		}
		if w.buf, err = buffer(maxExtent * pageBytes); err != nil {
			return 0, err
		}
		workers[i] = w
	}
	errs := make([]error, c.Workers)
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = w.run(c.Rounds) }) // ends when it is done
	}
	wg.Wait()
	for i, w := range workers {
		worst = max(worst, w.worst)
		if errs[i] != nil && err == nil {
			err = fmt.Errorf("inside: check %s: %w", c.Path, errs[i])
		}
	}
	return worst, err
}
