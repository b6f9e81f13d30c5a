package harden

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a trigger whose events are written down beforehand, with the time
// that passes before each.
type script struct {
	events  chan error // nil is an event
	stopped chan struct{}
	closed  int
}

func newScript() *script { return &script{events: make(chan error), stopped: make(chan struct{})} }

func (s *script) wait(timeout time.Duration) (bool, error) {
	var after <-chan time.Time
	if timeout >= 0 {
		after = time.After(timeout)
	}
	select {
	case err := <-s.events:
		return err == nil, err
	case <-after:
		return false, nil
	case <-s.stopped:
		return false, errStopped
	}
}

func (s *script) stop() error  { close(s.stopped); return nil }
func (s *script) close() error { s.closed++; return nil }

// TestPressureIsOneShortageWhileItGoesOn, ends after a calm, and can come again.
func TestPressureIsOneShortageWhileItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		var told []bool
		p, err := watchPressure(PressureConfig{Tell: func(on bool) { told = append(told, on) }}, s)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // nothing happens, and nothing is told
		for range 5 {
			s.events <- nil
			time.Sleep(DefaultCalm - time.Second)
		}
		synctest.Wait()
		if st := p.Stats(); !st.On || st.Began != 1 || st.Ended != 0 || st.Events != 5 {
			t.Errorf("five events: %+v", st)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := p.Stats(); st.On || st.Ended != 1 {
			t.Errorf("calm: %+v", st)
		}
		s.events <- nil
		synctest.Wait()
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if want := []bool{true, false, true, false}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v: a shortage does not outlive who tells of it", told, want)
		}
		if st := p.Stats(); st != (PressureStats{Began: 2, Ended: 2, Events: 6}) || s.closed != 1 {
			t.Errorf("%+v, closed %d times", st, s.closed)
		}
	})
}

// TestPressureThatBreaks: the shortage is over, and Close says why.
func TestPressureThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken on purpose")
		s := newScript()
		on := false
		p, err := watchPressure(PressureConfig{Tell: func(o bool) { on = o }}, s)
		if err != nil {
			t.Fatal(err)
		}
		s.events <- nil
		synctest.Wait()
		if !on {
			t.Error("an event, and not told")
		}
		s.events <- broken
		synctest.Wait()
		if on {
			t.Error("broken, and the shortage goes on for ever")
		}
		if err := p.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestPressureConfig(t *testing.T) {
	for _, cfg := range []PressureConfig{{}, {Tell: func(bool) {}, Calm: -1}} {
		if p, err := watchPressure(cfg, newScript()); err == nil {
			t.Errorf("%+v was taken: %v", cfg, p)
		}
	}
}
