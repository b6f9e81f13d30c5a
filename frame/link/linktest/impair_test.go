package linktest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"aoe/frame/link"
)

func TestAnUnimpairedLinkConforms(t *testing.T) {
	var inner *Port
	Conformance{
		Open: func(t *testing.T) (link.Link, link.Link) {
			sw := NewSwitch(Config{})
			inner = sw.Port(macA)
			return Impair(inner, Impairment{}), Impair(sw.Port(macB), Impairment{})
		},
		Flap:   func(_ *testing.T, up bool) { inner.SetUp(up) },
		Shrink: func(_ *testing.T, mtu int) { inner.SetMTU(mtu) },
	}.Run(t)
}

// impaired is a perfect switch with an impaired link on it, and a plain one.
func impaired(cfg Impairment) (i *Impaired, plain *Port) {
	sw := NewSwitch(Config{Queue: 100000})
	return Impair(sw.Port(macA), cfg), sw.Port(macB)
}

func TestImpairmentsHappenAsOftenAsAsked(t *testing.T) {
	const frames = 2000
	for _, row := range []struct {
		name     string
		faults   Faults
		min, max int // frames that arrive
		stats    func(ImpairedStats) (there, back uint64)
	}{
		{"loss", Faults{Loss: 0.25}, frames * 7 / 10, frames * 8 / 10,
			func(s ImpairedStats) (uint64, uint64) { return s.SendLost, s.ReceiveLost }},
		{"duplication", Faults{Duplicate: 0.25}, frames * 12 / 10, frames * 13 / 10,
			func(s ImpairedStats) (uint64, uint64) { return s.SendTwice, s.ReceiveTwice }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seed := rand.Uint64()
				i, plain := impaired(Impairment{Seed: seed, Send: row.faults, Receive: row.faults, Held: frames})
				sendTags(t, i, macB, 0, frames)
				i.Recv(nil, 0)
				time.Sleep(DefaultHold) // on the fake clock
				i.Recv(buffers(1, 100), 0)
				there := len(arrived(t, plain))
				sendTags(t, plain, macA, 0, frames)
				back := len(arrived(t, i))
				time.Sleep(DefaultHold)
				back += len(arrived(t, i))
				for what, n := range map[string]int{"there": there, "back": back} {
					if n < row.min || n > row.max {
						t.Errorf("seed %d: %d frames of %d arrived %s, want %d to %d", seed, n, frames, what, row.min, row.max)
					}
				}
				changed := func(n int) uint64 { return uint64(max(n-frames, frames-n)) }
				if a, b := row.stats(i.Impaired()); a != changed(there) || b != changed(back) {
					t.Errorf("seed %d: %+v, but %d frames arrived there and %d back", seed, i.Impaired(), there, back)
				}
			})
		})
	}
}

// A frame that is held back on its way out is sent by Recv when it is due, also
// when Recv was waiting before it was sent.
func TestHeldFramesAreSentInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, plain := impaired(Impairment{Send: Faults{Delay: 300 * time.Millisecond}})
		done := make(chan error)
		go func() {
			_, err := i.Recv(buffers(1, 100), -1)
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		sendTags(t, i, macB, 1, 1)
		n, err := plain.Recv(buffers(1, 100), -1)
		if d := time.Since(start); n != 1 || err != nil || d != 300*time.Millisecond {
			t.Errorf("Recv = %d, %v after %v", n, err, d)
		}
		i.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// What is received late neither shortens nor lengthens a timeout.
func TestHeldFramesAreReceivedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, plain := impaired(Impairment{Receive: Faults{Delay: 300 * time.Millisecond}})
		start := time.Now()
		sendTags(t, plain, macA, 1, 1)
		for _, row := range []struct {
			timeout time.Duration
			n       int
			at      time.Duration
		}{{100 * time.Millisecond, 0, 100 * time.Millisecond}, {-1, 1, 300 * time.Millisecond}, {time.Second, 0, 1300 * time.Millisecond}} {
			n, err := i.Recv(buffers(1, 100), row.timeout)
			if d := time.Since(start); n != row.n || err != nil || d != row.at {
				t.Errorf("timeout %v: Recv = %d, %v at %v; want %d at %v", row.timeout, n, err, d, row.n, row.at)
			}
		}
	})
}

func TestReorderingChangesTheOrderAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Faults{Reorder: 0.5}
		i, plain := impaired(Impairment{Seed: 1, Send: f, Receive: f})
		sendTags(t, i, macB, 0, 100)
		sendTags(t, plain, macA, 0, 100)
		back := arrived(t, i)
		time.Sleep(DefaultHold)
		back = append(back, arrived(t, i)...)
		for what, got := range map[string][]uint32{"there": arrived(t, plain), "back": back} {
			seen, late := map[uint32]bool{}, 0
			for at, tag := range got {
				seen[tag] = true
				if at > 0 && tag < got[at-1] {
					late++
				}
			}
			if len(got) != 100 || len(seen) != 100 || late < 10 {
				t.Errorf("%s: %d frames, %d different, %d late", what, len(got), len(seen), late)
			}
		}
	})
}

// The caller knows its buffers by their places: a lost frame must not make them
// change places.
func TestBuffersStayInPlace(t *testing.T) {
	i, plain := impaired(Impairment{Seed: 3, Receive: Faults{Loss: 0.5}})
	bufs := buffers(32, 100)
	var first [32]*byte
	for k := range bufs {
		first[k] = &bufs[k][:1][0]
	}
	var sent [][]byte
	for k := range 32 {
		sent = append(sent, makeFrame(macA, macB, 60+k, k))
	}
	plain.Send(sent)
	n, err := i.Recv(bufs, -1)
	if err != nil || n == 0 || n == 32 {
		t.Fatalf("Recv = %d, %v", n, err)
	}
	at := 0
	for k := range bufs {
		if &bufs[k][:1][0] != first[k] {
			t.Errorf("buffer %d is another one", k)
		}
		if k >= n {
			continue
		}
		for at < 32 && !bytes.Equal(sent[at], bufs[k]) {
			at++
		}
		if at == 32 {
			t.Errorf("buffer %d holds what was not sent, or in another order: %x", k, bufs[k])
		}
	}
}

func TestWhatCannotBeHeldIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, plain := impaired(Impairment{Send: Faults{Delay: time.Second}, Held: 3})
		sendTags(t, i, macB, 1, 5)
		time.Sleep(time.Second)
		i.Recv(buffers(1, 100), 0)
		wantTags(t, "after the delay", arrived(t, plain), 1, 2, 3)
		if s := i.Impaired(); s.SendLost != 2 {
			t.Errorf("%+v: want 2 lost", s)
		}
	})
}

func TestI10ImpairingDoesNotAllocate(t *testing.T) {
	f := Faults{Loss: 0.1, Duplicate: 0.2, Reorder: 0.3, Hold: 20 * time.Microsecond}
	i, plain := impaired(Impairment{Send: f, Receive: f})
	out, in := [][]byte{makeFrame(macB, macA, 1000, 1)}, [][]byte{makeFrame(macA, macB, 1000, 1)}
	bufs := buffers(8, 2000)
	step := func() {
		i.Send(out)
		plain.Send(in)
		i.Recv(bufs, 0)
		plain.Recv(bufs, 0)
	}
	for range 2000 { // until all buffers are there
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
