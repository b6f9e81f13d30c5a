// Package ping measures how long a disk takes to answer a query config request
// (AoEr11, section 3.2): the whole path and the target's code, but no disk.
//
// A ping is one request at a time. [Run] sends with the caller's [link.Link],
// which must have no other user, and leaves it open.
package ping

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
)

// ErrNoAnswer says that not one request was answered.
var ErrNoAnswer = errors.New("ping: nobody answered")

// A Config says whom to ping, and how.
type Config struct {
	Link link.Link  // owned by Run until it returns
	Addr frame.Addr // no wildcard

	Count    int           // requests to send; zero or negative means until ctx is done
	Interval time.Duration // between requests; zero means one second, negative none
	Timeout  time.Duration // to wait for an answer; zero or negative means one second
	Rand     *rand.Rand    // where the tags begin; nil means a seed of the system's
}

// A Reply is the answer to one request.
type Reply struct {
	Seq    int           `json:"seq"`
	MAC    frame.MAC     `json:"mac"` // of the target; zero when there was no answer
	RTT    time.Duration `json:"rttNanoseconds"`
	Lost   bool          `json:"lost,omitempty"`
	Config frame.Config  `json:"-"` // String is nil: it does not outlive the frame
	Text   string        `json:"configString"`
	Bytes  int           `json:"bytes"` // of the reply's frame
}

// A Summary is what all requests together showed.
type Summary struct {
	Sent       int           `json:"sent"`
	Answered   int           `json:"answered"`
	Duplicates int           `json:"duplicates"` // answers to a request that had one
	Late       int           `json:"late"`       // answers after the timeout
	Min        time.Duration `json:"minNanoseconds"`
	Mean       time.Duration `json:"meanNanoseconds"`
	Max        time.Duration `json:"maxNanoseconds"`
	Deviation  time.Duration `json:"deviationNanoseconds"`

	mean, m2 float64 // Welford's running variance
}

func (s *Summary) add(rtt time.Duration) {
	s.Answered++
	if s.Answered == 1 || rtt < s.Min {
		s.Min = rtt
	}
	s.Max = max(s.Max, rtt)
	d := float64(rtt) - s.mean
	s.mean += d / float64(s.Answered)
	s.m2 += d * (float64(rtt) - s.mean)
	s.Mean = time.Duration(s.mean)
	s.Deviation = time.Duration(math.Sqrt(s.m2 / float64(s.Answered)))
}

// Run pings until Count requests were sent or ctx is done, which is not an
// error, and hands each outcome to f. It returns ErrNoAnswer when nothing was
// answered, beside the Summary.
func Run(ctx context.Context, cfg Config, f func(Reply)) (Summary, error) {
	if cfg.Addr.IsWildcard() {
		return Summary{}, fmt.Errorf("ping: %s may be many disks: aoe discover asks them all", cfg.Addr)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	defer context.AfterFunc(ctx, cfg.Link.Wake)()
	p := pinger{Config: cfg, dst: frame.Broadcast, firstTag: cfg.Rand.Uint32() &^ (1 << 31), buf: make([]byte, 0, 16<<10)}
	p.bufs = [][]byte{p.buf}
	for seq := 0; (cfg.Count <= 0 || seq < cfg.Count) && ctx.Err() == nil; seq++ {
		began := time.Now()
		reply, err := p.one(ctx, seq)
		if err != nil {
			return p.sum, err
		}
		if !reply.Lost {
			p.sum.add(reply.RTT)
		}
		if reply.Lost && ctx.Err() != nil {
			p.sum.Sent-- // it was not given its time
			break
		}
		f(reply)
		last := cfg.Count > 0 && seq == cfg.Count-1
		if err := p.pause(ctx, began.Add(cfg.Interval), seq, last); err != nil {
			return p.sum, err
		}
	}
	if p.sum.Answered == 0 {
		return p.sum, ErrNoAnswer
	}
	return p.sum, nil
}

// A pinger is one Run.
type pinger struct {
	Config
	dst      frame.MAC // broadcast until the target is known
	firstTag uint32
	buf      []byte
	bufs     [][]byte
	sum      Summary
}

// one sends the request seq and waits for its answer.
func (p *pinger) one(ctx context.Context, seq int) (Reply, error) {
	b := frame.Header{
		Dst: p.dst, Src: p.Link.State().MAC, Addr: p.Addr,
		Command: aoe.CommandQueryConfigInformation, Tag: p.firstTag + uint32(seq),
	}.Append(make([]byte, 0, frame.MinLen))
	b = frame.Pad(frame.Config{Sub: aoe.ConfigCommandRead}.Append(b))
	sent := time.Now()
	if _, err := p.Link.Send([][]byte{b}); err != nil {
		return Reply{}, fmt.Errorf("ping: %w", err)
	}
	p.sum.Sent++
	for ctx.Err() == nil {
		left := p.Timeout - time.Since(sent)
		if left <= 0 {
			break
		}
		reply, ok, err := p.receive(seq, left)
		if err != nil {
			return Reply{}, err
		}
		if ok && reply.Seq == seq {
			reply.RTT = time.Since(sent)
			p.dst = reply.MAC
			return reply, nil
		}
		if ok {
			p.sum.Late++
		}
	}
	// The target may have moved: ask everybody again.
	p.dst = frame.Broadcast
	return Reply{Seq: seq, Lost: true}, nil
}

// pause waits until the next request is due, and counts what arrives meanwhile.
// Behind the last request it does not wait.
func (p *pinger) pause(ctx context.Context, until time.Time, seq int, last bool) error {
	for ctx.Err() == nil {
		left := time.Until(until)
		if last || left <= 0 {
			return nil
		}
		reply, ok, err := p.receive(seq, left)
		if err != nil {
			return err
		}
		if ok && reply.Seq == seq {
			p.sum.Duplicates++
		} else if ok {
			p.sum.Late++
		}
	}
	return nil
}

// receive takes one frame and reports whether it answers a request of this Run,
// seq or an earlier one.
func (p *pinger) receive(seq int, timeout time.Duration) (Reply, bool, error) {
	p.bufs[0] = p.buf
	n, err := p.Link.Recv(p.bufs, timeout)
	if err != nil {
		return Reply{}, false, fmt.Errorf("ping: %w", err)
	}
	if n == 0 {
		return Reply{}, false, nil
	}
	h, arg, err := frame.Parse(p.bufs[0])
	if err != nil || !h.IsResponse() || h.IsError() || h.Command != aoe.CommandQueryConfigInformation ||
		h.Addr != p.Addr || h.Src.IsMulticast() || h.Tag-p.firstTag > uint32(seq) {
		return Reply{}, false, nil
	}
	c, err := frame.ParseConfig(arg)
	if err != nil {
		return Reply{}, false, nil
	}
	text := string(c.String)
	c.String = nil
	return Reply{
		Seq: int(h.Tag - p.firstTag), MAC: h.Src, Config: c, Text: text, Bytes: len(p.bufs[0]),
	}, true, nil
}
