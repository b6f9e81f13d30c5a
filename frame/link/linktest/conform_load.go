package linktest

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// concurrentUse: several goroutines send, wake and look, while one receives;
// every frame arrives once. Run with -race.
func (e ends) concurrentUse() {
	const senders, each, inFlight = 4, 250, 8
	// As many frames as may be on their way: a small socket buffer is no fault.
	room := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				room <- struct{}{}
				if n, err := e.a.Send([][]byte{e.frameToB(100, s*each+i)}); n != 1 || err != nil {
					e.Errorf("Send = %d, %v", n, err)
				}
				e.a.Wake()
				e.b.Wake()
				e.a.Stats()
				e.b.State()
			}
		})
	}
	var seen [senders * each]bool
	bufs := buffers(3, 2000)
	got := 0
	for end := time.Now().Add(e.patience); got < len(seen) && time.Now().Before(end); {
		n, err := e.b.Recv(bufs, time.Until(end))
		if err != nil {
			e.Fatal(err)
		}
		for _, f := range bufs[:n] {
			h, _, err := frame.Parse(f)
			if err != nil || int(h.Tag) >= len(seen) || !bytes.Equal(f, e.frameToB(100, int(h.Tag))) {
				e.Fatalf("received %x, %v", f, err)
			}
			if seen[h.Tag] {
				e.Errorf("frame %d arrived twice", h.Tag)
			}
			seen[h.Tag] = true
			got++
			<-room
		}
	}
	if got != len(seen) {
		e.Errorf("received %d frames of %d; stats %+v and %+v", got, len(seen), e.a.Stats(), e.b.Stats())
		for len(room) > 0 { // let the senders go
			<-room
		}
		go func() {
			for range room {
			}
		}()
	}
	wg.Wait()
}

// closeDuringUse: whatever others are doing, Close ends it with net.ErrClosed,
// and nothing is used that is closed. Run with -race.
func (e ends) closeDuringUse() {
	f := [][]byte{e.frameToB(100, 1)}
	bufs := buffers(4, 2000)
	started := make(chan bool, 4)
	var wg sync.WaitGroup
	loop := func(what string, step func() error) {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := step(); errors.Is(err, net.ErrClosed) {
					return
				} else if err != nil {
					e.Errorf("%s: %v", what, err)
					return
				}
				if i == 10 {
					started <- true
				}
			}
		})
	}
	for range 2 {
		loop("Send", func() error { _, err := e.a.Send(f); return err })
	}
	loop("Recv", func() error { _, err := e.a.Recv(bufs, time.Millisecond); return err })
	loop("Wake", func() error {
		e.a.Wake()
		e.a.Stats()
		_, err := e.a.Send(nil)
		return err
	})
	for range cap(started) {
		<-started
	}
	if err := e.a.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
	wg.Wait()
}

func (e ends) statsAreExact() {
	e.send(e.a, e.frameToB(60, 1), e.frameToB(100, 2))
	e.send(e.a, e.frameToB(1000, 3))
	e.recv(e.b, 3)
	if got, want := e.a.Stats(), (link.Stats{Sent: 3, SentBytes: 1160}); got != want {
		e.Errorf("the sender's stats are %+v, want %+v", got, want)
	}
	if got, want := e.b.Stats(), (link.Stats{Received: 3, ReceivedBytes: 1160}); got != want {
		e.Errorf("the receiver's stats are %+v, want %+v", got, want)
	}
}

// allocations: the data path has none (I10), nor has Wake, nor a Recv that
// times out.
func (e ends) allocations(c Conformance) {
	const batch = 4
	frames := make([][]byte, batch)
	for i := range frames {
		frames[i] = e.frameToB(100, i)
	}
	bufs := buffers(batch, 2000)
	recvAll := func() {
		for got := 0; got < batch; {
			n, err := e.b.Recv(bufs, e.patience)
			if err != nil || n == 0 {
				e.Fatalf("Recv = %d, %v; stats %+v", n, err, e.b.Stats())
			}
			got += n
		}
	}
	e.atMost("Send", c.SendAllocs*batch+c.RecvAllocs*batch, func() {
		if n, err := e.a.Send(frames); n != batch || err != nil {
			e.Fatalf("Send = %d, %v", n, err)
		}
		recvAll()
	})
	e.atMost("Wake and Recv", c.RecvAllocs, func() {
		e.b.Wake()
		e.b.Recv(bufs, -1)
	})
	e.atMost("Recv with a timeout", c.RecvAllocs, func() { e.b.Recv(bufs, 20*time.Microsecond) })
	e.atMost("State and Stats", c.RecvAllocs, func() {
		e.b.State()
		e.b.Stats()
	})
	full := makeFrame(e.b.State().MAC, e.a.State().MAC, e.a.State().MTU+1000, 1)
	lost := [][]byte{full}
	e.atMost("Send of what is lost", c.SendAllocs, func() { e.a.Send(lost) })
}

func (e ends) atMost(what string, most float64, f func()) {
	e.Helper()
	if got := testing.AllocsPerRun(50, f); got > most && !raceEnabled {
		e.Errorf("%s: %v allocations, want at most %v", what, got, most)
	}
}

// A goroutines is how many there were.
type goroutines int

func countGoroutines() goroutines { return goroutines(runtime.NumGoroutine()) }

// check waits until there are no more than there were: those that have been
// told to end need a moment.
func (before goroutines) check(t *testing.T, patience time.Duration) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		now := runtime.NumGoroutine()
		if now <= int(before) {
			return
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before; they are\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
			return
		}
		runtime.Gosched()
	}
}
