package raw

import (
	"time"

	"aoe/frame"
	"aoe/frame/link/internal/nic"

	//lint:ignore SA1019 see raw.go
	"github.com/mdlayher/raw"
	"golang.org/x/net/bpf"
)

// filter passes AoE frames that are for this host. On BSD the library puts its
// own check of the EtherType before it, and the system does the rest.
func filter() []bpf.RawInstruction {
	program, err := bpf.Assemble(append(forThisHost(), // nothing on other systems than Linux
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(frame.EtherType), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 0x40000}, // all of it
	))
	if err != nil {
		panic("raw: the filter does not assemble: " + err.Error())
	}
	return program
}

// pump reads frames until the link is closed. It is the one goroutine that
// reads, and waits for nothing but frames and slots.
func (l *Link) pump() {
	for {
		select {
		case slot := <-l.free:
			slot, ok := l.fill(slot)
			if !ok {
				return
			}
			l.filled <- slot
		case <-l.done:
			return
		}
	}
}

// fill reads the next frame for us into slot, which it makes anew if the MTU has
// outgrown it. It returns false when the link has been closed.
func (l *Link) fill(slot []byte) ([]byte, bool) {
	for {
		// One byte more than the longest frame shows that a frame is longer.
		if size := l.State().MTU + frame.EthernetLen + 1; cap(slot) < size {
			slot = make([]byte, size)
		}
		slot = slot[:cap(slot)]
		conn := l.current()
		n, _, err := conn.ReadFrom(slot)
		switch {
		case l.isClosed():
			return nil, false
		case err != nil:
			// The interface is down or gone, or Recv has replaced the
			// connection. Linux says so once and waits, others may go on
			// saying so: do not spin.
			if conn == l.current() && !l.rest(lookEvery) {
				return nil, false
			}
		case n == len(slot):
			l.counted.truncated.Add(1)
		case n < frame.EthernetLen || frame.MAC(slot[6:12]) == l.State().MAC:
			// Our own: some systems let a sender hear itself (H14).
		default:
			return slot[:n], true
		}
	}
}

func (l *Link) current() *raw.Conn {
	l.connMu.RLock()
	defer l.connMu.RUnlock()
	return l.conn
}

// rest waits and reports whether the link is still open.
func (l *Link) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.done:
		return false
	}
}

// Recv is [link.Link.Recv].
func (l *Link) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	start := time.Now()
	for {
		if l.isClosed() {
			return 0, l.errClosed()
		}
		if n := l.take(bufs); n > 0 || len(bufs) == 0 || timeout == 0 {
			return n, nil
		}
		if changed, err := l.look(); changed || err != nil {
			return 0, err
		}
		wait := lookEvery
		if timeout > 0 {
			if wait = min(timeout-time.Since(start), lookEvery); wait <= 0 {
				return 0, nil
			}
		}
		if n, woken := l.wait(bufs, wait); n > 0 {
			return n + l.take(bufs[n:]), nil
		} else if woken {
			return 0, nil
		}
	}
}

// take moves the frames that are there into bufs.
func (l *Link) take(bufs [][]byte) int {
	n := 0
	for n < len(bufs) {
		select {
		case f := <-l.filled:
			n += l.move(bufs[n:], f)
		default:
			return n
		}
	}
	return n
}

// move copies f into the first of bufs, gives its slot back, and returns how
// many of bufs that filled.
func (l *Link) move(bufs [][]byte, f []byte) int {
	filled := 0
	if len(f) > cap(bufs[0]) {
		l.counted.truncated.Add(1)
	} else {
		bufs[0] = bufs[0][:copy(bufs[0][:len(f)], f)]
		l.counted.received.Add(1)
		l.counted.receivedBytes.Add(uint64(len(f)))
		filled = 1
	}
	l.free <- f // as many slots as room for them: never waits
	return filled
}

// wait waits for a frame, which it moves, a Wake or the end of d.
func (l *Link) wait(bufs [][]byte, d time.Duration) (n int, woken bool) {
	if l.timer == nil {
		l.timer = time.NewTimer(d)
	} else {
		l.timer.Reset(d)
	}
	defer l.timer.Stop()
	select {
	case f := <-l.filled:
		return l.move(bufs, f), false
	case <-l.wake:
		return 0, true
	case <-l.done:
	case <-l.timer.C:
	}
	return 0, false
}

// look looks whether the interface has changed, if it is time to, and follows.
func (l *Link) look() (changed bool, err error) {
	now := time.Now()
	if now.Sub(l.looked) < lookEvery {
		return false, nil
	}
	l.looked = now
	if !l.nic.Changed() {
		return false, nil
	}
	info, err := l.nic.Look()
	if err != nil {
		return false, err
	}
	before := l.State().Generation
	replaced := info.Exists() && info.Index != l.index
	if replaced {
		conn, err := listen(info)
		if err != nil {
			// It is gone again, which will be the next change.
			info, replaced = nic.Info{}, false
		} else {
			l.replace(conn)
			l.index = info.Index
		}
	}
	l.setState(info, replaced)
	return l.State().Generation != before, nil
}

// replace goes on with another connection.
func (l *Link) replace(conn *raw.Conn) {
	l.Stats()
	l.connMu.Lock()
	defer l.connMu.Unlock()
	l.counted.dropsOfOldSocket.Store(l.counted.kernelDropped.Load())
	l.conn.Close() // it is of no more use, whatever it says
	l.conn = conn
}
