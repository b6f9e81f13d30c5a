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

// stuck is how long nothing may be answered before a run is given up: a plain
// client sends nothing again.
const stuck = 5 * time.Second

// frameRoom holds any frame at MTU 9000.
const frameRoom = 9216

func openRing(host *veth.Host) (l *ring.Link, err error) {
	err = host.Do(func() error {
		l, err = ring.Open(ring.Config{Interface: host.Interface})
		return err
	})
	return l, err
}

// runPlain keeps a window of frames in flight with nothing around it: the tag
// is the index of the frame in the window.
var runPlain client = func(ctx context.Context, _ *bed, t *target, w workload, d time.Duration) (n count, err error) {
	l, err := openRing(t.pair.A)
	if err != nil {
		return count{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	p, err := newPlain(w, t.pair.A.MAC, t.pair.B.MAC)
	if err != nil {
		return count{}, err
	}
	start := time.Now()
	send := p.frames
	for {
		for _, f := range send {
			p.aim(f)
		}
		if _, err := l.Send(send); err != nil {
			return count{}, err
		}
		if send, err = p.answers(l); err != nil {
			return count{}, err
		}
		n.requests += uint64(len(send))
		if n.took = time.Since(start); n.took >= d || ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
}

// A plain is the window of a plain client.
type plain struct {
	w      workload
	frames [][]byte // by tag
	bufs   [][]byte
	again  [][]byte
	rng    *rand.Rand
	next   uint64 // sector of the next sequential request
}

func newPlain(w workload, src, dst frame.MAC) (*plain, error) {
	addr, err := frame.ParseAddr(diskAddr)
	if err != nil {
		return nil, err
	}
	p := &plain{w: w, rng: rand.New(rand.NewPCG(seed, 0))}
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
	lba := p.next
	if p.w.pattern.Random() {
		lba = p.rng.Uint64N(imageSize/uint64(p.w.size)) * sectors
	}
	p.next = (lba + sectors) % (imageSize / frame.SectorSize)
	a := frame.ATA{AFlags: frame.AFlagExtended, Count: uint8(sectors), Op: frame.OpReadExt, LBA: lba}
	if p.w.pattern.Writes() {
		a.AFlags |= frame.AFlagWrite
		a.Op = frame.OpWriteExt
	}
	a.Append(f[:frame.HeaderLen])
}

// answers waits for answers and returns the frames they free.
func (p *plain) answers(l *ring.Link) ([][]byte, error) {
	p.again = p.again[:0]
	for deadline := time.Now().Add(stuck); len(p.again) == 0; {
		for i := range p.bufs {
			p.bufs[i] = p.bufs[i][:frameRoom]
		}
		n, err := l.Recv(p.bufs, stuck)
		if err != nil {
			return nil, err
		}
		if n == 0 && time.Now().After(deadline) {
			return nil, fmt.Errorf("no answer in %v", stuck)
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
