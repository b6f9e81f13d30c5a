package linktest

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// Conform checks that two links, the ends of one otherwise idle segment, are
// what package link says. open makes them for every subtest, which closes them.
func Conform(t *testing.T, open func(t *testing.T) (a, b link.Link)) {
	t.Helper()
	Conformance{Open: open}.Run(t)
}

// A Conformance is the suite with allowances for an implementation that cannot
// do better. The zero value of every field but Open allows nothing.
type Conformance struct {
	// Open makes the two ends of a segment.
	Open func(t *testing.T) (a, b link.Link)
	// SendAllocs and RecvAllocs are the most heap allocations per frame.
	SendAllocs, RecvAllocs float64
	// Flap sets the first end down and up again, and Shrink changes its MTU, in
	// bytes. When nil, what depends on it is not tested.
	Flap   func(t *testing.T, up bool)
	Shrink func(t *testing.T, mtu int)
	// Patience bounds every wait; a conforming link never uses it up. Zero means
	// 10 s.
	Patience time.Duration
}

// An ends is the two links of a subtest.
type ends struct {
	*testing.T
	a, b     link.Link
	patience time.Duration
}

// Run runs the suite.
func (c Conformance) Run(t *testing.T) {
	t.Helper()
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	tests := []struct {
		name string
		run  func(ends)
	}{
		{"Order", ends.order},
		{"Batches", ends.batches},
		{"Lengths", ends.lengths},
		{"ShortFrames", ends.shortFrames},
		{"TruncatedFramesAreCounted", ends.truncated},
		{"OversizeFramesAreLostAlone", ends.oversize},
		{"OwnFramesAreNotReceived", ends.ownFrames},
		{"ForeignFramesAreNotReceived", ends.foreignFrames},
		{"TimeoutZero", ends.timeoutZero},
		{"TimeoutNegative", ends.timeoutNegative},
		{"TimeoutShort", ends.timeoutShort},
		{"WakeBeforeRecv", ends.wakeBefore},
		{"WakeDuringRecv", ends.wakeDuring},
		{"WakesCoalesce", ends.wakesCoalesce},
		{"CloseEndsRecv", ends.closeEndsRecv},
		{"CloseTwice", ends.closeTwice},
		{"CloseDuringUse", ends.closeDuringUse},
		{"ConcurrentUse", ends.concurrentUse},
		{"StatsAreExact", ends.statsAreExact},
		{"Allocations", func(e ends) { e.allocations(c) }},
		{"StateChanges", func(e ends) { e.stateChanges(c) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaks := countGoroutines()
			a, b := c.Open(t)
			test.run(ends{t, a, b, c.Patience})
			for _, l := range []link.Link{a, b} {
				if err := l.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			leaks.check(t, c.Patience)
		})
	}
}

// makeFrame is an AoE frame of n bytes whose content depends on id.
func makeFrame(dst, src frame.MAC, n, id int) []byte {
	f := frame.Header{Dst: dst, Src: src, Tag: uint32(id)}.Append(nil)
	for i := len(f); i < n; i++ {
		f = append(f, byte(i*7+id*13))
	}
	return f[:n]
}

func (e ends) frameToB(n, id int) []byte {
	return makeFrame(e.b.State().MAC, e.a.State().MAC, n, id)
}

// buffers are n empty ones with room for size bytes.
func buffers(n, size int) [][]byte {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 0, size)
	}
	return bufs
}

func (e ends) send(l link.Link, frames ...[]byte) {
	e.Helper()
	n, err := l.Send(frames)
	if err != nil || n != len(frames) {
		e.Fatalf("Send of %d frames = %d, %v", len(frames), n, err)
	}
}

// recv receives count frames from l, in as many calls as it takes.
func (e ends) recv(l link.Link, count int) [][]byte {
	e.Helper()
	var got [][]byte
	for end := time.Now().Add(e.patience); len(got) < count; {
		bufs := buffers(count-len(got), l.State().MTU+100)
		n, err := l.Recv(bufs, time.Until(end))
		if err != nil {
			e.Fatalf("Recv: %v", err)
		}
		if n == 0 && time.Now().After(end) {
			e.Fatalf("received %d frames, want %d; stats %+v", len(got), count, l.Stats())
		}
		got = append(got, bufs[:n]...)
	}
	return got
}

// nothing checks that l has nothing to receive. It first sends a marker from
// the other end and waits for it: what was sent earlier has arrived by then.
func (e ends) nothing(from, l link.Link) {
	e.Helper()
	marker := makeFrame(l.State().MAC, from.State().MAC, 100, 0xeeee)
	e.send(from, marker)
	if got := e.recv(l, 1); !bytes.Equal(got[0], marker) {
		e.Errorf("received %x, want nothing before the marker", got[0])
	}
	if n, err := l.Recv(buffers(1, 10000), 0); n != 0 || err != nil {
		e.Errorf("Recv behind the marker = %d, %v", n, err)
	}
}

func (e ends) order() {
	const count = 16
	var sent [][]byte
	for i := range count {
		sent = append(sent, e.frameToB(100, i))
	}
	e.send(e.a, sent[:1]...)
	e.send(e.a, sent[1:7]...)
	e.send(e.a, sent[7:]...)
	for i, f := range e.recv(e.b, count) {
		if !bytes.Equal(f, sent[i]) {
			e.Fatalf("frame %d is %x, want %x", i, f, sent[i])
		}
	}
	e.nothing(e.a, e.b)
}

// batches: Recv fills no more buffers than it is lent, leaves the others alone,
// and what did not fit is there the next time.
func (e ends) batches() {
	for i := range 10 {
		e.send(e.a, e.frameToB(80, i))
	}
	// Wait until all have arrived: the first Recv may find fewer.
	next := 0
	for next < 10 {
		bufs := buffers(3, 2000)
		n, err := e.b.Recv(bufs, e.patience)
		if err != nil || n < 1 || n > 3 {
			e.Fatalf("Recv into 3 buffers = %d, %v", n, err)
		}
		for i, b := range bufs {
			if i < n && !bytes.Equal(b, e.frameToB(80, next+i)) {
				e.Errorf("frame %d is %x", next+i, b)
			}
			if i >= n && len(b) != 0 {
				e.Errorf("buffer %d was changed by a Recv that returned %d", i, n)
			}
		}
		next += n
	}
	if n, err := e.b.Recv(nil, 0); n != 0 || err != nil {
		e.Errorf("Recv without buffers = %d, %v", n, err)
	}
	if n, err := e.a.Send(nil); n != 0 || err != nil {
		e.Errorf("Send without frames = %d, %v", n, err)
	}
}

// lengths: frames of every kind of length arrive whole, whatever the length of
// the lent buffer: only its capacity counts.
func (e ends) lengths() {
	most := e.a.State().MTU + frame.EthernetLen
	for _, n := range []int{60, 61, 63, 64, 65, 127, 512, 1024 + 36, most - 1, most} {
		want := e.frameToB(n, n)
		e.send(e.a, want)
		for _, buf := range [][]byte{make([]byte, n), make([]byte, 0, n), make([]byte, n/2, n+1)} {
			bufs := [][]byte{buf}
			got, err := e.b.Recv(bufs, e.patience)
			if err != nil || got != 1 || !bytes.Equal(bufs[0], want) {
				e.Fatalf("length %d: Recv = %d, %v, %d bytes %x", n, got, err, len(bufs[0]), bufs[0])
			}
			if &bufs[0][:1][0] != &buf[:1][0] {
				e.Errorf("length %d: Recv replaced the buffer instead of filling it", n)
			}
			e.send(e.a, want)
		}
		e.recv(e.b, 1)
	}
}

// shortFrames: those below Ethernet's minimum arrive, as they were sent or
// padded with zeros.
func (e ends) shortFrames() {
	for _, n := range []int{frame.EthernetLen, 15, frame.HeaderLen, 32, 36, 59} {
		want := e.frameToB(n, n)
		e.send(e.a, want)
		got := e.recv(e.b, 1)[0]
		if !bytes.HasPrefix(got, want) || len(got) > frame.MinLen || len(bytes.Trim(got[n:], "\x00")) != 0 {
			e.Errorf("sent %d bytes %x, received %d bytes %x", n, want, len(got), got)
		}
	}
}

// truncated frames are dropped and counted, and cost nothing else (H10).
func (e ends) truncated() {
	e.send(e.a, e.frameToB(101, 1), e.frameToB(100, 2), e.frameToB(1000, 3), e.frameToB(99, 4))
	var got [][]byte
	for end := time.Now().Add(e.patience); len(got) < 2 && time.Now().Before(end); {
		bufs := buffers(1, 100)
		n, err := e.b.Recv(bufs, time.Until(end))
		if err != nil {
			e.Fatal(err)
		}
		got = append(got, bufs[:n]...)
	}
	if len(got) != 2 || !bytes.Equal(got[0], e.frameToB(100, 2)) || !bytes.Equal(got[1], e.frameToB(99, 4)) {
		e.Errorf("received %x: want the two frames that fit", got)
	}
	if s := e.b.Stats(); s.Truncated != 2 || s.Received != 2 {
		e.Errorf("stats %+v: want 2 truncated and 2 received", s)
	}
}

// oversize: a frame that the interface refuses is lost and counted, what comes
// behind it is sent (H19).
func (e ends) oversize() {
	most := e.a.State().MTU + frame.EthernetLen
	frames := [][]byte{
		e.frameToB(60, 1), e.frameToB(most+5, 2), e.frameToB(60, 3), e.frameToB(60, 4),
		e.frameToB(most+1000, 5), make([]byte, 5), nil, e.frameToB(60, 6),
	}
	n, err := e.a.Send(frames)
	if n != 4 || err != nil {
		e.Errorf("Send = %d, %v; want 4 of 8", n, err)
	}
	for i, f := range e.recv(e.b, 4) {
		if want := frames[[]int{0, 2, 3, 7}[i]]; !bytes.Equal(f, want) {
			e.Errorf("frame %d is %x, want %x", i, f, want)
		}
	}
	if s := e.a.Stats(); s.SendDropped != 4 || s.Sent != 4 {
		e.Errorf("stats %+v: want 4 sent and 4 dropped", s)
	}
}

func (e ends) ownFrames() {
	a := e.a.State().MAC
	for _, dst := range []frame.MAC{frame.Broadcast, e.b.State().MAC, a} {
		e.send(e.a, makeFrame(dst, a, 60, 1))
	}
	got := e.recv(e.b, 2)
	if frame.MAC(got[0][:6]) != frame.Broadcast || frame.MAC(got[1][:6]) != e.b.State().MAC {
		e.Errorf("the other end received %x", got)
	}
	e.nothing(e.b, e.a)
	if s := e.a.Stats(); s.Received != 1 {
		e.Errorf("stats %+v: want the marker alone", s)
	}
}

// foreignFrames: those of another protocol, of another station or of a VLAN are
// not ours (H10, H14).
func (e ends) foreignFrames() {
	other := e.frameToB(100, 1)
	other[12], other[13] = 0x88, 0xb5 // for local experiments (IEEE 802)
	station := makeFrame(frame.MAC{2, 0xff, 0xff, 0xff, 0xff, 0xff}, e.a.State().MAC, 100, 2)
	// The tag of VLAN 5, behind the addresses. Linux takes it off before it
	// gives the frame to a socket of AoE's.
	vlan := slices.Insert(e.frameToB(100, 3), 12, 0x81, 0x00, 0x00, 0x05)
	e.send(e.a, other, station, vlan)
	e.nothing(e.a, e.b)
}

// closed checks that err is what everything returns after Close.
func (e ends) closed(what string, n int, err error) {
	e.Helper()
	if n != 0 || !errors.Is(err, net.ErrClosed) {
		e.Errorf("%s after Close = %d, %v; want an error wrapping net.ErrClosed", what, n, err)
	}
}

func (e ends) closeTwice() {
	for range 2 {
		if err := e.a.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		n, err := e.a.Recv(buffers(1, 100), -1)
		e.closed("Recv", n, err)
		n, err = e.a.Send([][]byte{e.frameToB(60, 1)})
		e.closed("Send", n, err)
		e.a.Wake()
		e.a.Stats()
		if e.a.State().MAC == (frame.MAC{}) {
			e.Error("the state is forgotten")
		}
	}
}

func (e ends) closeEndsRecv() {
	for range 2 {
		type result struct {
			n   int
			err error
		}
		done := make(chan result)
		go func() {
			n, err := e.a.Recv(buffers(1, 100), -1)
			done <- result{n, err}
		}()
		if err := e.a.Close(); err != nil {
			e.Error(err)
		}
		select {
		case r := <-done:
			e.closed("Recv", r.n, r.err)
		case <-time.After(e.patience):
			e.Fatal("Recv is still waiting")
		}
		e.a, e.b = e.b, e.a // now the other one
	}
}
