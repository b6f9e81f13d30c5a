package machine

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestSoak: machines that live for long hold nothing at rest, and do as much at the
// end as in the beginning.
func TestSoak(t *testing.T) {
	for _, below := range []Below{OwnQueue, Guarded} {
		for seed := range uint64(4) {
			s, err := Soak(seed, below, 50)
			if err != nil {
				t.Fatal(err)
			}
			if s.Dead || s.Wrong != "" || s.Uneven != "" {
				t.Errorf("seed %d at %v: dead %v, wrong %q, uneven %q", seed, below, s.Dead, s.Wrong, s.Uneven)
			}
			if s.Virtual < 50*safety || s.Virtual > 50*(safety+time.Second) || s.Parts[9].Requests == 0 {
				t.Errorf("seed %d at %v: %v, %+v", seed, below, s.Virtual, s.Parts)
			}
		}
	}
}

// TestSoakCanaries: what leaks is seen, whatever it is.
func TestSoakCanaries(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*machine)
		want  string
	}{
		"a page": {func(m *machine) { m.free-- }, "pages, there were"},
		"buffers": {func(m *machine) {
			if r := m.memories[0].r; !r.TryAdmit(r.NewGrant(1), 1) {
				t.Error("there is no buffer to leak")
			}
		}, "are granted"},
		"frames": {func(m *machine) {
			for range 20 {
				m.queue.Add(m.now+time.Hour, event{data: []byte{}})
			}
		}, "frames and turns to come"},
		"speed": {func(m *machine) { m.o.DirtyRate, m.o.ReadRate = m.o.DirtyRate*0.9, m.o.ReadRate*0.9 }, "in the last"},
	} {
		s, err := soak(3, OwnQueue, 50, c.spoil)
		if leaks := name == "buffers"; (err != nil) != leaks { // the reserve says so as well, when it is closed
			t.Errorf("%s: %v", name, err)
		}
		if said := s.Wrong + s.Uneven; !strings.Contains(said, c.want) {
			t.Errorf("%s: said %q, want %q", name, said, c.want)
		}
	}
}

// TestSoakReplay: a seed is one soak, bit for bit.
func TestSoakReplay(t *testing.T) {
	var all [2]Soaked
	for i := range all {
		var err error
		if all[i], err = Soak(1, OwnQueue, 20); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(all[0], all[1]) {
		t.Errorf("two soaks differ:\n%+v\n%+v", all[0], all[1])
	}
}
