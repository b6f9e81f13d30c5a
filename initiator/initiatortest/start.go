package initiatortest

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"

	"github.com/mdlayher/aoe"
)

// bufferLen holds any frame of an Ethernet with jumbo frames.
const bufferLen = 16 << 10

// Start serves the disk on l until the test ends. It closes l.
func Start(tb testing.TB, l link.Link, cfg Config) *Target {
	tb.Helper()
	t, wait := Serve(l, cfg)
	tb.Cleanup(func() {
		l.Close()
		if err := wait(); !errors.Is(err, net.ErrClosed) {
			tb.Errorf("initiatortest: %v", err)
		}
	})
	return t
}

// Serve serves the disk on l, whose MAC it takes, until l is closed. wait waits
// for that and returns the error it ended with.
func Serve(l link.Link, cfg Config) (t *Target, wait func() error) {
	cfg.MAC = l.State().MAC
	t = New(cfg)
	var served sync.WaitGroup
	var err error
	served.Go(func() { err = t.serve(l, cfg.MAC) })
	return t, func() error {
		served.Wait()
		return err
	}
}

// Also serves t on another link until the test ends: a second port of the target.
// It closes l.
func Also(tb testing.TB, t *Target, l link.Link) {
	tb.Helper()
	var served sync.WaitGroup
	var err error
	mac := l.State().MAC
	served.Go(func() { err = t.serve(l, mac) })
	tb.Cleanup(func() {
		l.Close()
		served.Wait()
		if !errors.Is(err, net.ErrClosed) {
			tb.Errorf("initiatortest: %v", err)
		}
	})
}

// A pendingReply is sent when its time has come.
type pendingReply struct {
	due   time.Time
	frame []byte
}

// serve answers as mac until the link is closed. Delayed replies are kept in order of
// arrival: a slow reply delays none of a shorter delay, as with a disk that has
// a queue.
func (t *Target) serve(l link.Link, mac frame.MAC) error {
	bufs := make([][]byte, 64)
	backing := make([]byte, len(bufs)*bufferLen)
	var pending []pendingReply
	for {
		for i := range bufs {
			bufs[i] = backing[i*bufferLen:][:bufferLen:bufferLen]
		}
		n, err := l.Recv(bufs, untilNext(pending))
		if err != nil {
			return err
		}
		now := time.Now()
		for _, b := range bufs[:n] {
			for _, reply := range t.Answer(b) {
				copy(reply[len(mac):], mac[:]) // its source
				pending = append(pending, pendingReply{now.Add(t.delay(b)), reply})
			}
		}
		t.notePending(len(pending))
		var due [][]byte
		rest := pending[:0]
		for _, p := range pending {
			if p.due.After(now) {
				rest = append(rest, p)
			} else {
				due = append(due, p.frame)
			}
		}
		pending = rest
		if len(due) > 0 {
			if _, err := l.Send(due); err != nil {
				return err
			}
		}
	}
}

// untilNext is how long to wait for frames: until the next reply is due.
func untilNext(pending []pendingReply) time.Duration {
	wait := time.Duration(-1)
	for _, p := range pending {
		if d := max(time.Until(p.due), 0); wait < 0 || d < wait {
			wait = d
		}
	}
	return wait
}

// delay is how long the reply to request is kept back.
func (t *Target) delay(request []byte) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, arg, _ := frame.Parse(request)
	if h.Command == aoe.CommandIssueATACommand && t.cfg.Faults.FlushDelay > 0 {
		if a, _, err := frame.ParseATA(arg); err == nil && a.Op.IsFlush() {
			return t.cfg.Faults.FlushDelay
		}
	}
	return t.cfg.Faults.Delay
}

func (t *Target) notePending(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.MostPending = max(t.seen.MostPending, n)
}
