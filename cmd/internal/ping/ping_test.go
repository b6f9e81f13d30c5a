package ping

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
)

var (
	us   = frame.MAC{2, 0, 0, 0, 0, 1}
	them = frame.MAC{2, 0, 0, 0, 0, 2}
	e11  = frame.Addr{Shelf: 1, Slot: 1}
)

// answer serves query config on l until it is closed: f builds the answers to
// the n-th request.
func answer(t *testing.T, l link.Link, f func(n int, h frame.Header) [][]byte) {
	done := make(chan struct{})
	go func() { // ends when l is closed
		defer close(done)
		for n := 0; ; {
			bufs := [][]byte{make([]byte, 0, 2000)}
			got, err := l.Recv(bufs, -1)
			if err != nil {
				return
			}
			if got == 0 {
				continue
			}
			h, _, err := frame.Parse(bufs[0])
			if err != nil {
				t.Errorf("asked with a malformed frame: %v", err)
				return
			}
			l.Send(f(n, h))
			n++
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

func reply(h frame.Header, from frame.MAC, addr frame.Addr) []byte {
	b := frame.Header{
		Dst: h.Src, Src: from, Flags: frame.FlagResponse, Addr: addr,
		Command: aoe.CommandQueryConfigInformation, Tag: h.Tag,
	}.Append(nil)
	return frame.Pad(frame.Config{BufferCount: 16, SectorCount: 16, String: []byte("hello")}.Append(b))
}

// TestWhatAPingCounts: each way in which a network answers, with the summary
// that tells it.
func TestWhatAPingCounts(t *testing.T) {
	good := func(_ int, h frame.Header) [][]byte { return [][]byte{reply(h, them, e11)} }
	for _, row := range []struct {
		name   string
		answer func(n int, h frame.Header) [][]byte
		want   Summary
		err    error
	}{
		{"every request answered", good, Summary{Sent: 3, Answered: 3}, nil},
		{"nobody there", func(int, frame.Header) [][]byte { return nil }, Summary{Sent: 3}, ErrNoAnswer},
		{"one lost", func(n int, h frame.Header) [][]byte {
			if n == 1 {
				return nil
			}
			return good(n, h)
		}, Summary{Sent: 3, Answered: 2}, nil},
		{"each answered twice", func(n int, h frame.Header) [][]byte {
			return append(good(n, h), good(n, h)...)
		}, Summary{Sent: 3, Answered: 3, Duplicates: 2}, nil}, // the last is not waited for
		{"late by one", func(n int, h frame.Header) [][]byte {
			if n == 0 {
				return nil
			}
			h.Tag--
			return good(n, h)
		}, Summary{Sent: 3, Late: 2}, ErrNoAnswer},
		{"another disk", func(_ int, h frame.Header) [][]byte {
			return [][]byte{reply(h, them, frame.Addr{Shelf: 1, Slot: 2})}
		}, Summary{Sent: 3}, ErrNoAnswer},
		{"a request comes back as it is", func(_ int, h frame.Header) [][]byte {
			h.Dst, h.Src = h.Src, h.Dst
			return [][]byte{frame.Pad(frame.Config{}.Append(h.Append(nil)))}
		}, Summary{Sent: 3}, ErrNoAnswer},
		{"an error", func(_ int, h frame.Header) [][]byte {
			b := reply(h, them, e11)
			b[14] |= frame.FlagError
			return [][]byte{b}
		}, Summary{Sent: 3}, ErrNoAnswer},
		{"cut short", func(_ int, h frame.Header) [][]byte {
			return [][]byte{reply(h, them, e11)[:frame.HeaderLen+3]}
		}, Summary{Sent: 3}, ErrNoAnswer},
		{"a tag nobody used", func(_ int, h frame.Header) [][]byte {
			h.Tag += 1000
			return [][]byte{reply(h, them, e11)}
		}, Summary{Sent: 3}, ErrNoAnswer},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sw := linktest.NewSwitch(linktest.Config{Faults: linktest.Faults{Delay: time.Millisecond}})
				port := sw.Port(us)
				answer(t, sw.Port(them), row.answer)
				seen := 0
				got, err := Run(t.Context(), Config{Link: port, Addr: e11, Count: 3}, func(r Reply) {
					if r.Seq != seen {
						t.Errorf("reply %d has number %d", seen, r.Seq)
					}
					seen++
					if !r.Lost && (r.MAC != them || r.Text != "hello" || r.Config.BufferCount != 16) {
						t.Errorf("reply %+v", r)
					}
				})
				if !errors.Is(err, row.err) || err == nil != (row.err == nil) {
					t.Errorf("error %v, want %v", err, row.err)
				}
				if got.Answered > 0 && (got.Min < 2*time.Millisecond || got.Min > got.Mean || got.Mean > got.Max || got.Max > 100*time.Millisecond) {
					t.Errorf("round trips of %v %v %v on a path of 2 ms", got.Min, got.Mean, got.Max)
				}
				bare := Summary{Sent: got.Sent, Answered: got.Answered, Duplicates: got.Duplicates, Late: got.Late}
				if bare != row.want {
					t.Errorf("counted %+v, want %+v", bare, row.want)
				}
				if seen != 3 {
					t.Errorf("told of %d requests", seen)
				}
			})
		})
	}
}

// TestAfterTheFirstAnswerPingsAreUnicast, and broadcast again when it is lost:
// the target may have moved to another port.
func TestAfterTheFirstAnswerPingsAreUnicast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := linktest.NewSwitch(linktest.Config{})
		port := sw.Port(us)
		var dst []frame.MAC
		answer(t, sw.Port(them), func(n int, h frame.Header) [][]byte {
			dst = append(dst, h.Dst)
			if n == 2 {
				return nil
			}
			return [][]byte{reply(h, them, e11)}
		})
		if _, err := Run(t.Context(), Config{Link: port, Addr: e11, Count: 4}, func(Reply) {}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := []frame.MAC{frame.Broadcast, them, them, frame.Broadcast}
		for i := range want {
			if i >= len(dst) || dst[i] != want[i] {
				t.Fatalf("sent to %v, want %v", dst, want)
			}
		}
	})
}

func TestInterruptedPingStillSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := linktest.NewSwitch(linktest.Config{})
		port := sw.Port(us)
		answer(t, sw.Port(them), func(_ int, h frame.Header) [][]byte { return [][]byte{reply(h, them, e11)} })
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		got, err := Run(ctx, Config{Link: port, Addr: e11}, func(Reply) {})
		if err != nil || got.Sent != 3 || got.Answered != 3 {
			t.Errorf("%+v, %v; want 3 of 3", got, err)
		}
	})
}

func TestPingRefusesAndFails(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	port := sw.Port(us)
	if _, err := Run(t.Context(), Config{Link: port, Addr: frame.Anywhere, Count: 1}, nil); err == nil {
		t.Error("a wildcard is pinged: who answered?")
	}
	port.Close()
	if _, err := Run(t.Context(), Config{Link: port, Addr: e11, Count: 1}, func(Reply) {}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed link: %v", err)
	}
}

func TestSummaryOfRoundTrips(t *testing.T) {
	var s Summary
	for _, ms := range []int{2, 4, 4, 4, 5, 5, 7, 9} {
		s.add(time.Duration(ms) * time.Millisecond)
	}
	if s.Min != 2*time.Millisecond || s.Max != 9*time.Millisecond || s.Mean != 5*time.Millisecond || s.Deviation != 2*time.Millisecond {
		t.Errorf("%+v; want 2, 5, 9 and a deviation of 2 ms", s)
	}
}
