package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"aoe/frame"
	"aoe/initiator"
)

// e11 is the address of the disk.
var e11 = frame.Addr{Shelf: 1, Slot: 1}

// A load keeps depth requests in flight. Each slot has a part of the disk for
// itself, writes a block, reads it back and compares, goes on to the next block,
// and flushes now and then. After start nothing of it allocates.
type load struct {
	disk    *initiator.Disk
	size    int // bytes of a request
	slots   []slot
	starved chan int // slots whose next request found no buffers
	idle    sync.WaitGroup
	done    func(*initiator.Request) // made once: a method value allocates

	requests, errors, wrong atomic.Uint64
	halted                  atomic.Bool

	mu      sync.Mutex
	failure error // the first
}

// A slot is one chain of requests. Whoever has its request owns it.
type slot struct {
	first, blocks uint64 // its part of the disk
	step          uint64 // requests so far
}

// flushEvery is how many requests a slot makes between flushes.
const flushEvery = 1000

func newLoad(d *initiator.Disk, size, depth int) (*load, error) {
	l := &load{disk: d, size: size, slots: make([]slot, depth), starved: make(chan int, depth)}
	each := uint64(d.Size()) / uint64(size) / uint64(depth)
	if each == 0 {
		return nil, fmt.Errorf("a disk of %d bytes is too small for %d requests of %d bytes", d.Size(), depth, size)
	}
	for i := range l.slots {
		l.slots[i] = slot{first: uint64(i) * each, blocks: each}
	}
	l.done = l.ended
	return l, nil
}

// start begins all chains. wait ends them.
func (l *load) start(ctx context.Context) {
	l.idle.Add(len(l.slots))
	for i := range l.slots {
		l.starved <- i
	}
	go func() { // ends when all chains have
		for i := range l.starved {
			r, err := l.disk.Admit(ctx, l.op(&l.slots[i]))
			if err != nil {
				l.fail(err)
				l.idle.Done()
				continue
			}
			l.submit(i, r)
		}
	}()
}

// wait ends the chains and returns the first failure.
func (l *load) wait() error {
	l.halted.Store(true)
	l.idle.Wait()
	close(l.starved)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// op is the slot's next operation: write and read in turns.
func (l *load) op(s *slot) initiator.Op {
	if s.step%flushEvery == flushEvery-1 {
		return initiator.Op{Kind: initiator.Flush}
	}
	op := initiator.Op{Kind: initiator.Write, Offset: int64(s.block() * uint64(l.size)), Length: l.size}
	if s.step%2 == 1 {
		op.Kind = initiator.Read
	}
	return op
}

// block is where step writes or reads. flushEvery is even, so a flush stands in
// for a read and never for a write.
func (s *slot) block() uint64 { return s.first + s.step/2%s.blocks }

// stamp is the first word of what is written in a step; the words behind it
// count on. It differs in every round over the slot's blocks.
func (s *slot) stamp() uint64 { return s.block()<<32 + s.step/2/s.blocks<<16 }

func (l *load) submit(i int, r *initiator.Request) {
	if r.Op().Kind == initiator.Write {
		fill(r.Segments(), l.slots[i].stamp())
	}
	r.Cookie = uint64(i)
	r.Submit(l.done)
}

func fill(segments [][]byte, word uint64) {
	for _, b := range segments {
		for ; len(b) >= 8; b = b[8:] {
			binary.LittleEndian.PutUint64(b, word)
			word++
		}
	}
}

func holds(segments [][]byte, word uint64) bool {
	for _, b := range segments {
		for ; len(b) >= 8; b = b[8:] {
			if binary.LittleEndian.Uint64(b) != word {
				return false
			}
			word++
		}
	}
	return true
}

// ended is the callback: it runs on the disk's loop.
func (l *load) ended(r *initiator.Request) {
	i := int(r.Cookie)
	s := &l.slots[i]
	l.requests.Add(1)
	switch err := r.Err(); {
	case err != nil:
		l.errors.Add(1)
		l.fail(err)
	case r.Op().Kind == initiator.Read && !holds(r.Segments(), s.stamp()):
		l.wrong.Add(1)
		l.fail(errWrong)
	}
	r.Release()
	if l.halted.Load() {
		l.idle.Done()
		return
	}
	s.step++
	next, ok := l.disk.TryAdmit(l.op(s))
	if !ok {
		l.starved <- i // has room for every slot
		return
	}
	l.submit(i, next)
}

var errWrong = errors.New("what was read is not what was written")

// fail ends the load.
func (l *load) fail(err error) {
	l.halted.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = err
	}
}
