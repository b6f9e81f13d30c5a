package inside

import (
	"fmt"
	"time"
)

// A Fill says what the filler does.
type Fill struct {
	Bytes int64  // more than there is memory, rounded up to whole pages
	Seed  uint64 // of the pattern and of the order
	// Rounds is how often the random part touches half as many pages as there are.
	// Zero means 1, negative none.
	Rounds int
	// UnreadBytes, unless zero, is the room of a socket for a flood's frames on
	// Interface that nobody reads. With Read they are read and thrown away.
	UnreadBytes int
	Interface   string
	Read        bool
}

// A WrongPage is a page that is not what was written to it.
type WrongPage struct {
	Page, Word      int
	Generation      uint8
	Got, Want       uint64
	LooksLikeBefore bool
}

func (e *WrongPage) Error() string {
	old := ""
	if e.LooksLikeBefore {
		old = " (it is what was written the time before)"
	}
	return fmt.Sprintf("page %d, word %d is %#016x and not %#016x%s", e.Page, e.Word, e.Got, e.Want, old)
}

// A filler is a run of it. It is used by one goroutine.
type filler struct {
	pages       []*[pageWords]uint64
	generations []uint8
	seed        uint64
	rng         uint64
	now         func() time.Time
	progress    func(phase string, done, total int)

	worst time.Duration // that one page took
}

// phases are named in what the filler tells, in this order.
const (
	phaseWrite  = "write"
	phaseRead   = "read"
	phaseRandom = "random"
	phaseLast   = "last"
)

// run writes every page, reads every page, then picks pages at random, half of
// which it writes anew, and at last reads every page again.
func (f *filler) run(rounds int) error {
	n := len(f.pages)
	err := f.phase(phaseWrite, n, func(i int) error { return f.write(i) })
	if err == nil {
		err = f.phase(phaseRead, n, f.verify)
	}
	if err == nil && rounds > 0 {
		err = f.phase(phaseRandom, n*rounds/2, func(int) error {
			r := f.random()
			page := int(r >> 1 % uint64(n))
			if err := f.verify(page); err != nil || r&1 == 0 {
				return err
			}
			return f.write(page)
		})
	}
	if err == nil {
		err = f.phase(phaseLast, n, f.verify)
	}
	return err
}

// tellEvery is how many pages are touched between two lines of progress: 16 MiB.
const tellEvery = 16 << 20 / pageBytes

// phase does something total times, and measures each time.
func (f *filler) phase(name string, total int, touch func(i int) error) error {
	before := f.now()
	for i := range total {
		if err := touch(i); err != nil {
			return err
		}
		now := f.now()
		f.worst = max(f.worst, now.Sub(before))
		before = now
		if (i+1)%tellEvery == 0 || i+1 == total {
			f.progress(name, i+1, total)
			before = f.now() // telling is not touching
		}
	}
	return nil
}

func (f *filler) write(page int) error {
	f.generations[page]++
	newPattern(f.seed, page, f.generations[page]).write(f.pages[page])
	return nil
}

func (f *filler) verify(page int) error {
	return wrongPage(f.pages[page], f.seed, page, f.generations[page])
}

func (f *filler) random() uint64 {
	f.rng += 0x9e3779b97f4a7c15
	return mix(f.rng)
}
