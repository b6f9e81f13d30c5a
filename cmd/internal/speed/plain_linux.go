package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"

	"github.com/mdlayher/aoe"
)

// A plain client sends nothing again. stuck is how long nothing may be answered
// before a run is given up, lostAfter before what is under way at its end is.
const stuck, lostAfter = 30 * time.Second, time.Second

// frameRoom holds any frame at MTU 9000.
const frameRoom = 9216

// openRing opens a host's interface, to poll it for so long.
func openRing(host *veth.Host, poll time.Duration) (l *ring.Link, err error) {
	err = host.Do(func() error {
		l, err = ring.Open(ring.Config{Interface: host.Interface, Poll: poll})
		return err
	})
	return l, err
}

// runPlain keeps a window of frames in flight with nothing around it: the tag
// is the index of the frame in the window.
var runPlain client = func(ctx context.Context, b *bed, t *process, w workload, d time.Duration) (n count, err error) {
	l, err := openRing(t.pair.A, 0)
	if err != nil {
		return count{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	p, err := newPlain(w, b.cfg.imageBytes, t.pair.A.MAC, t.pair.B.MAC)
	if err != nil {
		return count{}, err
	}
	start := time.Now()
	send := p.frames
	for n.took < d && ctx.Err() == nil {
		for _, f := range send {
			p.aim(f)
		}
		if _, err := l.Send(send); err != nil {
			return count{}, err
		}
		if send, err = p.answers(l, stuck); err != nil {
			return count{}, err
		}
		if len(send) == 0 {
			return count{}, fmt.Errorf("no answer in %v", stuck)
		}
		n.requests += uint64(len(send))
		n.took = time.Since(start)
	}
	n.lost, err = p.drain(l, len(send))
	return n, errors.Join(err, ctx.Err())
}

// A plain is the window of a plain client.
type plain struct {
	w      workload
	blocks uint64
	frames [][]byte // by tag
	bufs   [][]byte
	again  [][]byte
	rng    *rand.Rand
	next   uint64 // block of the next sequential request
}

func newPlain(w workload, size int64, src, dst frame.MAC) (*plain, error) {
	addr, err := frame.ParseAddr(diskAddr)
	if err != nil {
		return nil, err
	}
	p := &plain{w: w, blocks: uint64(size) / uint64(w.size), rng: rand.New(rand.NewPCG(seed, 0))}
	request, _ := w.frameSizes()
	for tag := range w.depth {
		f := make([]byte, request)
		h := frame.Header{Dst: dst, Src: src, Addr: addr, Command: aoe.CommandIssueATACommand, Tag: uint32(tag)}
		h.Append(f[:0])
		p.frames = append(p.frames, f)
		p.bufs = append(p.bufs, make([]byte, frameRoom))
	}
	return p, nil
}

// aim gives frame f its next place on the disk.
func (p *plain) aim(f []byte) {
	sectors := uint64(p.w.size / frame.SectorSize)
	block := p.next % p.blocks
	if p.w.pattern.Random() {
		block = p.rng.Uint64N(p.blocks)
	}
	p.next = block + 1
	a := frame.ATA{AFlags: frame.AFlagExtended, Count: uint8(sectors), Op: frame.OpReadExt, LBA: block * sectors}
	if p.w.pattern.Writes() {
		a.AFlags |= frame.AFlagWrite
		a.Op = frame.OpWriteExt
	}
	a.Append(f[:frame.HeaderLen])
}

// answers waits for answers and returns the frames they free: none if none came
// in time.
func (p *plain) answers(l *ring.Link, patience time.Duration) ([][]byte, error) {
	p.again = p.again[:0]
	for end := time.Now().Add(patience); len(p.again) == 0; {
		for i := range p.bufs {
			p.bufs[i] = p.bufs[i][:frameRoom]
		}
		n, err := l.Recv(p.bufs, patience)
		if err != nil {
			return nil, err
		}
		if n == 0 && time.Now().After(end) {
			return nil, nil
		}
		for _, b := range p.bufs[:n] {
			h, arg, err := frame.Parse(b)
			if err != nil || !h.IsResponse() || h.Tag >= uint32(len(p.frames)) || h.Command != aoe.CommandIssueATACommand {
				continue // an announcement
			}
			if a, _, err := frame.ParseATA(arg); err != nil || h.IsError() || a.Status()&frame.StatusFault != 0 {
				return nil, fmt.Errorf("request failed: error %v, status %#x (%w)", h.Error, a.Status(), err)
			}
			p.again = append(p.again, p.frames[h.Tag])
		}
	}
	return p.again, nil
}

// drain waits until what is under way is answered, so that the answers do not
// get into the next run, where they would count. What is not answered is lost.
func (p *plain) drain(l *ring.Link, idle int) (lost uint64, err error) {
	for idle < len(p.frames) {
		more, err := p.answers(l, lostAfter)
		if err != nil {
			return 0, err
		}
		if len(more) == 0 {
			break
		}
		idle += len(more)
	}
	return uint64(len(p.frames) - idle), nil
}
