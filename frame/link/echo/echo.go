package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// batch is the most frames that are received or sent at once.
const batch = 64

// A Config is what a responder answers.
type Config struct {
	// Reply is the length of the answers in bytes, Ethernet header included.
	// Zero means 60. It must not be longer than the link's MTU allows.
	Reply int
}

// Serve answers every request that l receives until l is closed, and then
// returns nil. It is the one goroutine that receives from l.
func Serve(l link.Link, cfg Config) error {
	size, err := size(l, cfg.Reply)
	if err != nil {
		return err
	}
	replies := buffers(batch, size)
	src, next := l.State().MAC, 0
	return Answer(l, buffers(batch, l.State().MTU+frame.EthernetLen), func(q []byte) ([]byte, error) {
		h, _, err := frame.Parse(q)
		if err != nil || h.IsResponse() {
			return nil, nil // two responders would never stop
		}
		reply := replies[next]
		next = (next + 1) % batch // it is sent before as many more have come
		copy(reply, q[:frame.HeaderLen])
		frame.Reply(reply, src, h.Addr)
		return reply, nil
	})
}

// Answer receives requests into the buffers, and sends together what answer makes of
// each batch of them, until l is closed, and then returns nil, or until answer fails. A
// nil frame is no answer. One may be in the buffer of its request.
func Answer(l link.Link, requests [][]byte, answer func(request []byte) ([]byte, error)) error {
	replies := make([][]byte, 0, len(requests))
	for {
		n, err := l.Recv(requests, -1)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		replies = replies[:0]
		for _, q := range requests[:n] {
			reply, err := answer(q)
			if err != nil {
				return err
			}
			if reply != nil {
				replies = append(replies, reply)
			}
		}
		if _, err := l.Send(replies); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// A Load is what a client asks for.
type Load struct {
	Peer    frame.MAC     // of the responder
	Request int           // length of a request in bytes; zero means 60
	Depth   int           // requests in flight; zero means 1
	For     time.Duration // how long; zero means a second
	// Count ends the run after so many answers, if that is sooner than For,
	// which then has no default. Zero means no such end.
	Count uint64
}

// A Result is what came of a Load.
type Result struct {
	Answers uint64
	// Lost requests had no answer after a tenth of a second without any; others
	// were sent in their place.
	Lost    uint64
	Elapsed time.Duration
}

// PerSecond is the rate of answers.
func (r Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Answers) / r.Elapsed.Seconds()
}

// lostAfter is how long a request is waited for.
const lostAfter = 100 * time.Millisecond

// Run puts the load on the responder at the other end of l. When ctx ends it
// returns what came until then, and the cause.
func Run(ctx context.Context, l link.Link, load Load) (Result, error) {
	size, err := size(l, load.Request)
	if err != nil {
		return Result{}, err
	}
	if load.For == 0 && load.Count == 0 {
		load.For = time.Second
	}
	depth := max(load.Depth, 1)
	requests := buffers(min(depth, batch), size)
	for i, q := range requests {
		h := frame.Header{Dst: load.Peer, Src: l.State().MAC, Tag: uint32(i)}
		h.Append(q[:0])
	}
	answers := buffers(batch, l.State().MTU+frame.EthernetLen)
	r, inFlight, start := Result{}, 0, time.Now()
	for ctx.Err() == nil {
		for inFlight < depth {
			n := min(depth-inFlight, len(requests))
			if _, err := l.Send(requests[:n]); err != nil {
				return r, fmt.Errorf("echo: %w", err)
			}
			inFlight += n
		}
		n, err := l.Recv(answers, lostAfter)
		if err != nil {
			return r, fmt.Errorf("echo: %w", err)
		}
		for _, a := range answers[:n] {
			if h, _, err := frame.Parse(a); err == nil && h.IsResponse() && h.Src == load.Peer {
				r.Answers++
				inFlight = max(inFlight-1, 0)
			}
		}
		r.Elapsed = time.Since(start)
		if n == 0 {
			r.Lost += uint64(inFlight)
			inFlight = 0
		}
		if load.For > 0 && r.Elapsed >= load.For || load.Count > 0 && r.Answers >= load.Count {
			return r, nil
		}
	}
	return r, context.Cause(ctx)
}

// size is the length of frames to be sent, or why there can be none like it.
func size(l link.Link, n int) (int, error) {
	most := l.State().MTU + frame.EthernetLen
	switch {
	case n == 0:
		return frame.MinLen, nil
	case n < frame.HeaderLen || n > most:
		return 0, fmt.Errorf("echo: frames of %d bytes: %s carries %d to %d", n, l.State().Name, frame.HeaderLen, most)
	}
	return n, nil
}

func buffers(n, size int) [][]byte {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	return bufs
}
