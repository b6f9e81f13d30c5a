package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
)

// modelBlock is the unit of the model in bytes, a block of most devices.
const modelBlock = 4096

// maxModelBlocks bounds one read or write: 128 KiB, what an elevator sends.
const maxModelBlocks = 32

// A ModelConfig says how to check a disk against a model of it.
type ModelConfig struct {
	// Disk is used by all workers at once, in multiples of 4096 bytes at
	// multiples of 4096.
	Disk interface {
		io.ReaderAt
		io.WriterAt
	}
	SizeBytes int64  // checked from the start of the disk
	Workers   int    // each has a part of the disk to itself; zero means 8
	Seed      uint64 // decides everything that is read and written
	// Buffer makes the memory that is read to and written from; nil means
	// ordinary memory. Direct I/O needs it aligned.
	Buffer func(sizeBytes int) []byte
	// Progress is called with the bytes moved, by all workers; nil is allowed.
	Progress func(bytes int64)
}

// A ModelResult is what a check moved.
type ModelResult struct {
	Reads, Writes uint64
	Bytes         int64
}

// CheckModel reads and writes random blocks, ops times per worker, and
// remembers what each block must hold. Every read, and one of everything at the
// end, is compared. The first difference ends it with an error that names the
// block and the seed.
func CheckModel(ctx context.Context, cfg ModelConfig, ops int) (ModelResult, error) {
	if cfg.Workers <= 0 {
		cfg.Workers = 8
	}
	if cfg.Buffer == nil {
		cfg.Buffer = func(n int) []byte { return make([]byte, n) }
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64) {}
	}
	perWorker := cfg.SizeBytes / modelBlock / int64(cfg.Workers)
	if perWorker < 1 {
		return ModelResult{}, fmt.Errorf("lab: %d bytes are too few for %d workers", cfg.SizeBytes, cfg.Workers)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]*modelWorker, cfg.Workers)
	var wg sync.WaitGroup
	for i := range workers {
		w := &modelWorker{
			cfg:     &cfg,
			rng:     rand.New(rand.NewPCG(cfg.Seed, uint64(i))),
			first:   int64(i) * perWorker,
			version: make([]uint32, perWorker),
			buf:     cfg.Buffer(maxModelBlocks * modelBlock),
		}
		workers[i] = w
		wg.Go(func() {
			if err := w.run(ctx, ops); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	var sum ModelResult
	for _, w := range workers {
		sum.Reads += w.result.Reads
		sum.Writes += w.result.Writes
		sum.Bytes += w.result.Bytes
	}
	return sum, context.Cause(ctx)
}

// A modelWorker owns a part of the disk and the model of it.
type modelWorker struct {
	cfg     *ModelConfig
	rng     *rand.Rand
	first   int64    // block of the disk where its part begins
	version []uint32 // of each block; 0 was never written and may hold anything
	buf     []byte
	result  ModelResult
}

func (w *modelWorker) run(ctx context.Context, ops int) error {
	for range ops {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n := 1 + w.rng.IntN(min(maxModelBlocks, len(w.version)))
		at := w.rng.IntN(len(w.version) - n + 1)
		do := w.read
		if w.rng.IntN(2) == 0 {
			do = w.write
		}
		if err := do(at, n); err != nil {
			return err
		}
	}
	for at := 0; at < len(w.version); at += maxModelBlocks {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.read(at, min(maxModelBlocks, len(w.version)-at)); err != nil {
			return err
		}
	}
	return nil
}

func (w *modelWorker) write(at, n int) error {
	p := w.buf[:n*modelBlock]
	for i := range n {
		w.version[at+i]++
		fillBlock(p[i*modelBlock:][:modelBlock], w.cfg.Seed, w.first+int64(at+i), w.version[at+i])
	}
	if _, err := w.cfg.Disk.WriteAt(p, (w.first+int64(at))*modelBlock); err != nil {
		return fmt.Errorf("lab: writing block %d: %w", w.first+int64(at), err)
	}
	w.result.Writes++
	w.moved(n)
	return nil
}

func (w *modelWorker) read(at, n int) error {
	p := w.buf[:n*modelBlock]
	// What a failed read leaves alone must not pass for what it should be.
	clear(p)
	if _, err := w.cfg.Disk.ReadAt(p, (w.first+int64(at))*modelBlock); err != nil {
		return fmt.Errorf("lab: reading block %d: %w", w.first+int64(at), err)
	}
	for i := range n {
		if err := checkBlock(p[i*modelBlock:][:modelBlock], w.cfg.Seed, w.first+int64(at+i), w.version[at+i]); err != nil {
			return err
		}
	}
	w.result.Reads++
	w.moved(n)
	return nil
}

func (w *modelWorker) moved(blocks int) {
	w.result.Bytes += int64(blocks) * modelBlock
	w.cfg.Progress(int64(blocks) * modelBlock)
}

// wordsPerBlock of 8 bytes. The first two say what block this is, so that a
// difference can be told from a stale or misplaced one.
const wordsPerBlock = modelBlock / 8

// fillBlock writes what the block must hold in the given version.
func fillBlock(p []byte, seed uint64, block int64, version uint32) {
	binary.LittleEndian.PutUint64(p, uint64(block))
	binary.LittleEndian.PutUint64(p[8:], uint64(version))
	x := mix(seed ^ mix(uint64(block)<<32|uint64(version)))
	for i := 2; i < wordsPerBlock; i++ {
		x += 0x9e3779b97f4a7c15
		binary.LittleEndian.PutUint64(p[8*i:], mix(x))
	}
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// errCorrupt is wrapped by every difference between disk and model.
var errCorrupt = errors.New("the disk holds what was not written there")

// checkBlock compares p with what the block must hold.
func checkBlock(p []byte, seed uint64, block int64, version uint32) error {
	if version == 0 {
		return nil
	}
	var want [modelBlock]byte
	fillBlock(want[:], seed, block, version)
	if [modelBlock]byte(p) == want {
		return nil
	}
	at := 0
	for p[at] == want[at] {
		at++
	}
	holds := fmt.Sprintf("differs from byte %d on", at)
	b, v := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	switch {
	case b == uint64(block) && v < uint64(version):
		holds = fmt.Sprintf("holds version %d: a stale write or read", v)
	case b != uint64(block) && v != 0 && b < 1<<40:
		holds = fmt.Sprintf("holds block %d, version %d: misplaced", b, v)
	case allZero(p):
		holds = "holds zeros"
	}
	return fmt.Errorf("lab: block %d, version %d, seed %d: %w: it %s", block, version, seed, errCorrupt, holds)
}

func allZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
