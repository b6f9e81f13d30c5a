// Package attachtest is a disk in memory behind the interface of package
// attach, to test front ends with and to measure them without a network.
//
// It behaves like a real one where it matters to a front end: operations
// complete on a goroutine of its own, in an order that is not the one of
// submission if asked for; admission waits, first come, first served, when as
// much as the configuration allows is admitted; data lives in segments of a
// frame's payload, which are overwritten as soon as they are given back.
// Everything a front end must not do panics.
package attachtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"aoe/initiator/attach"
)

// A Config is what the disk is like. Sizes are in bytes.
type Config struct {
	// Size of the disk. Zero means 64 MiB.
	Size int64
	// Segment is the payload of a frame. Zero means 8192, 16 sectors.
	Segment int
	// Requests is how many operations are admitted at once. Zero means 128.
	Requests int
	// Info is passed on. MaxRequest zero means 128 KiB.
	Info attach.Info
	// Shuffle completes what is submitted at the same time in an order drawn
	// from Rand, not in that of submission.
	Shuffle bool
	// Rand is for Shuffle. Nil means a fixed seed.
	Rand *rand.Rand
	// Fault decides the outcome of an operation; the data is left alone if it
	// returns an error. It runs on the disk's goroutine. Nil means success.
	Fault func(attach.Op) error
	// Poison overwrites segments that are given back, so that who uses them
	// later is found out.
	Poison bool
	// Alone has the disk's goroutine accompany nobody (initiator.Companion), so
	// that front ends have to do everything themselves.
	Alone bool
}

// Memory is the disk.
type Memory struct {
	cfg   Config
	info  attach.Info
	size  atomic.Int64
	free  chan *request
	queue chan *request
	quit  chan struct{}
	ended sync.WaitGroup
	all   []request

	company company

	dataMu sync.Mutex
	data   []byte

	// Counts of what was completed, by kind.
	counts [attach.Trim + 1]atomic.Uint64
	bytes  [attach.Trim + 1]atomic.Uint64

	mu       sync.Mutex
	admitted int
	inFlight int
	peak     int           // most in flight at once
	held     bool          // nothing completes
	changed  chan struct{} // closed and replaced when a field of this group changes and somebody waits
	waiters  int
	closed   bool
}

type state uint8

const (
	idle state = iota
	admitted
	submitted
	ended
)

type request struct {
	m     *Memory
	op    attach.Op
	state state
	room  [][]byte // one segment after the other, MaxRequest long
	segs  [][]byte
	err   error
	done  func(attach.Request)
}

// New makes a disk full of zeros. Close it.
func New(cfg Config) *Memory {
	if cfg.Size == 0 {
		cfg.Size = 64 << 20
	}
	if cfg.Segment == 0 {
		cfg.Segment = 8192
	}
	if cfg.Requests == 0 {
		cfg.Requests = 128
	}
	if cfg.Info.Depth == 0 {
		cfg.Info.Depth = cfg.Requests
	}
	if cfg.Info.MaxRequest == 0 {
		cfg.Info.MaxRequest = 128 << 10
	}
	if cfg.Info.Name == "" {
		cfg.Info.Name = "e1.1"
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(1, 2))
	}
	m := &Memory{
		cfg: cfg, info: cfg.Info,
		data:    make([]byte, cfg.Size),
		free:    make(chan *request, cfg.Requests),
		queue:   make(chan *request, cfg.Requests),
		quit:    make(chan struct{}),
		all:     make([]request, cfg.Requests),
		company: company{turns: make(chan struct{}, 1)},
		changed: make(chan struct{}),
	}
	m.size.Store(cfg.Size)
	for i := range m.all {
		r := &m.all[i]
		r.m = m
		for rest := cfg.Info.MaxRequest; rest > 0; rest -= cfg.Segment {
			r.room = append(r.room, make([]byte, min(rest, cfg.Segment)))
		}
		r.segs = make([][]byte, 0, len(r.room))
		m.free <- r
	}
	m.ended.Go(m.loop)
	return m
}

// Close fails what is in flight, and what is submitted later, with
// net.ErrClosed, and waits until everything admitted is released. Admission
// fails from then on.
func (m *Memory) Close() {
	m.change(func() { m.closed, m.held = true, false })
	select {
	case <-m.quit:
	default:
		close(m.quit)
	}
	m.ended.Wait()
}

// Info implements attach.Disk.
func (m *Memory) Info() attach.Info { return m.info }

// Size implements attach.Disk.
func (m *Memory) Size() int64 { return m.size.Load() }

// Resize changes what Size says. The memory behind stays.
func (m *Memory) Resize(size int64) { m.size.Store(size) }

// Content is a copy of what the disk holds.
func (m *Memory) Content() []byte {
	m.dataMu.Lock()
	defer m.dataMu.Unlock()
	return bytes.Clone(m.data)
}

// Completed is how many operations of kind k have ended well.
func (m *Memory) Completed(k attach.Kind) uint64 { return m.counts[k].Load() }

// Moved is how many bytes operations of kind k that ended well were about.
func (m *Memory) Moved(k attach.Kind) uint64 { return m.bytes[k].Load() }

// Admit implements attach.Disk.
func (m *Memory) Admit(ctx context.Context, op attach.Op) (attach.Request, error) {
	if err := m.check(op); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var r *request
	select {
	case r = <-m.free: // without waiting, if possible
	default:
		select {
		case r = <-m.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.quit:
			return nil, fmt.Errorf("attachtest: %w", net.ErrClosed)
		}
	}
	return m.admit(r, op)
}

// TryAdmit implements attach.Disk.
func (m *Memory) TryAdmit(op attach.Op) (attach.Request, bool) {
	if m.check(op) != nil {
		return nil, false
	}
	select {
	case r := <-m.free:
		admitted, err := m.admit(r, op)
		return admitted, err == nil
	default:
		return nil, false
	}
}

func (m *Memory) admit(r *request, op attach.Op) (attach.Request, error) {
	r.to(idle, admitted)
	r.op, r.err = op, nil
	r.segs = r.segs[:0]
	if op.Kind == attach.Read || op.Kind == attach.Write {
		for rest := op.Length; rest > 0; {
			b := r.room[len(r.segs)]
			b = b[:min(rest, len(b))]
			r.segs = append(r.segs, b)
			rest -= len(b)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		r.to(admitted, idle)
		m.free <- r
		return nil, fmt.Errorf("attachtest: %w", net.ErrClosed)
	}
	m.admitted++
	return r, nil
}

func (m *Memory) check(op attach.Op) error {
	longest := m.info.MaxRequest
	switch op.Kind {
	case attach.Flush:
		if op != (attach.Op{Kind: attach.Flush}) {
			panic("attachtest: flush with an offset or a length")
		}
		return nil
	case attach.Trim:
		if longest = m.info.MaxTrim; longest == 0 {
			longest = 1 << 30
		}
		if !m.info.Trim {
			panic("attachtest: trim of a disk that does not know it")
		}
	}
	if op.Kind != attach.Read && m.info.ReadOnly {
		return fmt.Errorf("attachtest: read-only: %w", os.ErrPermission)
	}
	if op.Length <= 0 || op.Length > longest || op.Length%512 != 0 || op.Offset%512 != 0 ||
		op.Offset < 0 || op.Offset > m.Size()-int64(op.Length) {
		panic(fmt.Sprintf("attachtest: the front end did not check %v", op))
	}
	return nil
}

func (r *request) to(from, to state) {
	if r.state != from {
		panic(fmt.Sprintf("attachtest: %v request goes from state %d to %d, not from %d", r.op, r.state, to, from))
	}
	r.state = to
}

// Segments implements attach.Request.
func (r *request) Segments() [][]byte {
	if r.state == idle || r.state == submitted {
		panic("attachtest: Segments of a request that is not the caller's")
	}
	return r.segs
}

// Submit implements attach.Request.
func (r *request) Submit(done func(attach.Request)) {
	r.to(admitted, submitted)
	r.done = done
	m := r.m
	m.change(func() {
		m.inFlight++
		m.peak = max(m.peak, m.inFlight)
	})
	m.queue <- r
}

// Err implements attach.Request.
func (r *request) Err() error {
	if r.state != ended {
		panic("attachtest: Err before the callback")
	}
	return r.err
}

// Release implements attach.Request.
func (r *request) Release() {
	if r.state != admitted {
		r.to(ended, admitted)
	}
	r.to(admitted, idle)
	if r.m.cfg.Poison {
		for _, s := range r.segs {
			for i := range s {
				s[i] = 0xdb
			}
		}
	}
	r.m.free <- r
	r.m.change(func() { r.m.admitted-- })
}
