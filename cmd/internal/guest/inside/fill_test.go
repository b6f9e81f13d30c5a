package inside

import (
	"errors"
	"testing"
	"time"
)

// newFiller is a filler in ordinary memory.
func newFiller(pages int) *filler {
	f := &filler{seed: 7, rng: 7, now: time.Now, generations: make([]uint8, pages), progress: func(string, int, int) {}}
	for range pages {
		f.pages = append(f.pages, new([pageWords]uint64))
	}
	return f
}

func TestFill(t *testing.T) {
	f := newFiller(300)
	touched := map[string]int{}
	f.progress = func(phase string, done, total int) {
		if done == total {
			touched[phase] = total
		}
	}
	if err := f.run(2); err != nil {
		t.Fatal(err)
	}
	for phase, want := range map[string]int{phaseWrite: 300, phaseRead: 300, phaseRandom: 300, phaseLast: 300} {
		if touched[phase] != want {
			t.Errorf("phase %s touched %d pages, want %d", phase, touched[phase], want)
		}
	}
	again := 0
	for _, g := range f.generations {
		if g > 1 {
			again++
		}
	}
	if again < 50 {
		t.Errorf("%d of 300 pages were written again", again)
	}
}

// TestWrongPage: whatever a disk, or who serves it, may do to a page is noticed.
func TestWrongPage(t *testing.T) {
	for name, spoil := range map[string]func(f *filler){
		"one bit":             func(f *filler) { f.pages[3][511] ^= 1 << 63 },
		"zeroed":              func(f *filler) { *f.pages[3] = [pageWords]uint64{} },
		"another page":        func(f *filler) { *f.pages[3] = *f.pages[4] },
		"torn":                func(f *filler) { copy(f.pages[3][256:], f.pages[5][256:]) },
		"two words exchanged": func(f *filler) { p := f.pages[3]; p[1], p[2] = p[2], p[1] },
	} {
		f := newFiller(8)
		if err := f.phase(phaseWrite, 8, f.write); err != nil {
			t.Fatal(err)
		}
		spoil(f)
		wrong, ok := errors.AsType[*WrongPage](f.phase(phaseRead, 8, f.verify))
		if !ok || wrong.Page != 3 {
			t.Errorf("%s: got %v, want page 3 to be wrong", name, wrong)
		} else if wrong.LooksLikeBefore {
			t.Errorf("%s: taken for an old page: %v", name, wrong)
		}
	}
}

// TestOldPage: a write that got lost leaves what was there before.
func TestOldPage(t *testing.T) {
	f := newFiller(8)
	if err := f.phase(phaseWrite, 8, f.write); err != nil {
		t.Fatal(err)
	}
	before := *f.pages[6]
	if err := f.write(6); err != nil {
		t.Fatal(err)
	}
	*f.pages[6] = before
	wrong, ok := errors.AsType[*WrongPage](f.verify(6))
	if !ok || !wrong.LooksLikeBefore {
		t.Errorf("an old page gave %v", wrong)
	}
}

// TestWorst is the longest that a page took, and not what telling takes.
func TestWorst(t *testing.T) {
	f := newFiller(4)
	clock := time.Unix(0, 0)
	f.now = func() time.Time { return clock }
	f.progress = func(string, int, int) { clock = clock.Add(time.Hour) }
	err := f.phase(phaseRead, 4, func(i int) error {
		clock = clock.Add(time.Duration(i) * time.Millisecond)
		return nil
	})
	if err != nil || f.worst != 3*time.Millisecond {
		t.Errorf("worst is %v (%v), want 3ms", f.worst, err)
	}
}

// TestPatternDoesNotRepeat: swap that compresses or merges pages must not help.
func TestPatternDoesNotRepeat(t *testing.T) {
	seen := map[uint64]bool{}
	for page := range 64 {
		for generation := range uint8(4) {
			p := newPattern(1, page, generation)
			for i := range pageWords {
				if w := p.word(i); seen[w] {
					t.Fatalf("word %d of page %d, generation %d was there before", i, page, generation)
				} else {
					seen[w] = true
				}
			}
		}
	}
}

func TestCounter(t *testing.T) {
	text := []byte("pswpin 12\npswpout 345\npswpoutx 9\n")
	if n, err := counter(text, "pswpout "); n != 345 || err != nil {
		t.Errorf("pswpout is %d, %v", n, err)
	}
	if n, err := counter([]byte("678\n"), ""); n != 678 || err != nil {
		t.Errorf("a file that is a number gave %d, %v", n, err)
	}
	for _, prefix := range []string{"nr_free ", "pswpin 12"} {
		if n, err := counter(text, prefix); err == nil {
			t.Errorf("counter %q is %d", prefix, n)
		}
	}
}
