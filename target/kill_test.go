package target_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store/storetest"
)

const (
	killSectors = 64
	killDepth   = 16
	killLives   = 4 // of a disk: it is killed so often
)

// TestH17CrashLosesNothingAcknowledged: initiators write, trim, flush and read
// overlapping sectors as fast as they can, send copies of what they have sent,
// and the power fails in the middle of some call of the store: what is found
// then is, for each sector, what the mode promised or something that was sent
// later. Then all goes on with what was found, and what was not answered is sent
// again. The seed, which is the name of the failing test, replays it.
func TestH17CrashLosesNothingAcknowledged(t *testing.T) {
	for _, mode := range []target.Mode{target.ModeSync, target.ModeFlush, target.ModeDirect} {
		for seed := range uint64(30) {
			t.Run(fmt.Sprintf("%v/seed=%d", mode, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					for _, l := range killed(t, seed, mode, mode) {
						t.Error(l)
					}
				})
			})
		}
	}
}

// A disk that answers before the sync loses what was acknowledged, if it is held
// to what sync promises: the test above can fail.
func TestH17CrashFindsALiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(20) {
			if len(killed(t, seed, target.ModeFlush, target.ModeSync)) > 0 {
				return
			}
		}
		t.Error("a disk that answers before the sync lost nothing in 20 runs")
	})
}

// A killer is the initiators, and remembers what they know.
type killer struct {
	*rig
	rng   *rand.Rand
	seed  uint64
	mode  target.Mode // of the disk
	judge target.Mode // what it is held to
	disk  *storetest.Crash

	ids     uint64
	history [killSectors][]*killOp // writes and trims, in the order they were sent
	flying  map[uint32]*killOp
	said    []*killOp // writes that were answered, or failed, whose copies come late
	unsafe  []*killOp // acknowledged, and not flushed
	lost    []string
	kept    int // sectors that were found as acknowledged, or later
}

// A killOp is one request.
type killOp struct {
	order  uint64 // and what a write leaves in its sectors; a trim leaves 0
	frame  []byte
	lba, n uint64
	trim   bool
	acked  bool
	safe   bool      // it must be there after a crash
	makes  []*killOp // of a flush: what it makes safe
	floors []int     // of a read: what it must see at least
}

func (o *killOp) content() uint64 {
	if o.trim {
		return 0
	}
	return o.order
}

// killed runs some lives of a disk and returns what was lost.
func killed(t *testing.T, seed uint64, mode, judge target.Mode) []string {
	k := &killer{
		rng: rand.New(rand.NewPCG(seed, 1)), seed: seed, mode: mode, judge: judge,
		disk: storetest.NewCrash(killSectors * frame.SectorSize), flying: map[uint32]*killOp{},
	}
	k.rig = &rig{t: t}
	for range killLives {
		k.boot(true)
		k.check("after the power came back")
		k.replay()
		k.load()
		k.shutDown()
		k.disk = k.disk.Restart(k.rng)
	}
	k.boot(false)
	k.check("at the end")
	k.shutDown()
	if k.kept == 0 {
		t.Errorf("seed %d: nothing was ever written: the test tests nothing", seed)
	}
	return k.lost
}

// boot serves the disk as it is, with some trouble if so wanted.
func (k *killer) boot(trouble bool) {
	cfg := storetest.FaultConfig{Seed: k.rng.Uint64(), Latency: killLatency}
	if trouble && k.rng.IntN(2) == 0 {
		cfg.Fail[storetest.Write], cfg.Fail[storetest.Read], cfg.Short = .01, .01, .03
	}
	if trouble && k.rng.IntN(4) == 0 {
		cfg.Fail[storetest.Sync] = .01
	}
	s, err := target.New(target.Config{Workers: 4, BufferCount: 32, Batch: 4, RecentWrites: 1024, Watch: -1})
	if err != nil {
		k.t.Fatal(err)
	}
	if err := s.AddDisk(target.Disk{Addr: e11, Store: storetest.NewFault(k.disk, cfg), Mode: k.mode}); err != nil {
		k.t.Fatal(err)
	}
	k.server, k.tap, k.served = s, newTap(macTarget, 9000), make(chan error, 1)
	if err := s.AddLink(k.tap); err != nil {
		k.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(k.t.Context())
	k.stop = stop
	go func() { k.served <- s.Serve(ctx) }()
	k.announced(k.tap)
}

// killLatency is that of a disk with a cache.
func killLatency(c storetest.Call, rng *rand.Rand) time.Duration {
	most := 200 * time.Microsecond
	if c.Op == storetest.Sync {
		most = 3 * time.Millisecond
	}
	return time.Duration(rng.Int64N(int64(most)))
}

// shutDown ends the server. What it still answers counts: it was done.
func (k *killer) shutDown() {
	if n := k.stats(e11).Overflow; n != 0 {
		k.t.Fatalf("seed %d: %d requests found no buffer: the test asks for more than is advertised", k.seed, n)
	}
	k.stop()
	if err := <-k.served; err != nil && !errors.Is(err, storetest.ErrPower) && !errors.Is(err, storetest.ErrInjected) {
		k.t.Fatalf("seed %d: Serve: %v", k.seed, err)
	}
	for len(k.tap.out) > 0 {
		k.take(k.next(k.tap))
	}
}

// load sends requests until the power fails.
func (k *killer) load() {
	k.disk.FailAfter(k.rng.Uint64(), k.rng.IntN(150))
	for {
		for len(k.flying) < killDepth && k.rng.IntN(8) > 0 {
			k.send(k.request())
		}
		if k.rng.IntN(10) == 0 {
			k.copyOf()
		}
		select {
		case <-k.disk.Down():
			return
		case f := <-k.tap.out:
			k.take(f)
		case <-time.After(time.Duration(k.rng.IntN(1000)) * time.Microsecond):
		}
	}
}

// request makes one of any kind.
func (k *killer) request() *killOp {
	k.ids++
	n := 1 + k.rng.Uint64N(8)
	o := &killOp{order: k.ids, n: n, lba: k.rng.Uint64N(killSectors - n + 1)}
	switch p := k.rng.IntN(16); {
	case p < 9:
		data := make([]byte, 0, n*frame.SectorSize)
		for len(data) < cap(data) {
			data = binary.LittleEndian.AppendUint64(data, o.order)
		}
		o.frame = k.write(e11, o.lba, data)
	case p == 9:
		o.trim = true
		o.frame = k.trim(e11, frame.TrimRange{LBA: o.lba, Sectors: uint16(n)})
	case p < 13:
		o.frame = k.read(e11, o.lba, uint8(n))
	default:
		o.n = 0
		o.frame = k.ata(e11, frame.OpFlushExt, 0, 0, nil)
	}
	if k.rng.IntN(2) == 0 {
		from(macB, o.frame)
	}
	return o
}

// send sends o, and writes down what it can be held to.
func (k *killer) send(o *killOp) {
	switch op := frame.Opcode(o.frame[27]); {
	case op.IsRead():
		o.floors = k.floors(o.lba, o.n, func(o *killOp) bool { return o.acked })
	case op.IsFlush():
		o.makes = slices.Clone(k.unsafe)
	default:
		for lba := o.lba; lba < o.lba+o.n; lba++ {
			k.history[lba] = append(k.history[lba], o)
		}
	}
	k.flying[tagOf(o.frame)] = o
	k.tap.in <- bytes.Clone(o.frame)
}

// copyOf sends a copy of a request that is under way, or of a write that was
// answered.
func (k *killer) copyOf() {
	var o *killOp
	if len(k.said) > 0 && k.rng.IntN(2) == 0 {
		o = k.said[k.rng.IntN(len(k.said))]
	} else if tags := k.order(); len(tags) > 0 {
		o = tags[k.rng.IntN(len(tags))]
	}
	if o != nil {
		k.tap.in <- bytes.Clone(o.frame)
	}
}

// order is what is under way, in the order in which it was sent.
func (k *killer) order() []*killOp {
	var all []*killOp
	for _, o := range k.flying {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *killOp) int { return cmp.Compare(a.order, b.order) })
	return all
}

// take is told an answer.
func (k *killer) take(f []byte) {
	wellFormed(k.t, f)
	o := k.flying[tagOf(f)]
	if o == nil {
		return // to a copy
	}
	delete(k.flying, tagOf(f))
	a, data := ataOf(k.t, f)
	op := frame.Opcode(o.frame[27])
	if !op.IsRead() && !op.IsFlush() {
		k.said = append(k.said, o)
	}
	if a.Status()&frame.StatusFault != 0 {
		return
	}
	switch {
	case op.IsRead():
		k.look("a read", o.lba, data[:o.n*frame.SectorSize], o.floors)
	case op.IsFlush():
		for _, w := range o.makes {
			w.safe = true
		}
		k.unsafe = slices.DeleteFunc(k.unsafe, func(w *killOp) bool { return w.safe })
	default:
		o.acked, o.safe = true, k.judge != target.ModeFlush
		if !o.safe {
			k.unsafe = append(k.unsafe, o)
		}
	}
}

// floors are the places in history of the latest writes for which holds.
func (k *killer) floors(lba, n uint64, holds func(*killOp) bool) (floors []int) {
	for ; n > 0; n, lba = n-1, lba+1 {
		at := len(k.history[lba]) - 1
		for at >= 0 && !holds(k.history[lba][at]) {
			at--
		}
		floors = append(floors, at)
	}
	return floors
}

// look checks that each sector of data is what one write left, the one at its
// floor or a later one.
func (k *killer) look(what string, lba uint64, data []byte, floors []int) {
	for i, floor := range floors {
		sector := data[i*frame.SectorSize:][:frame.SectorSize]
		id := binary.LittleEndian.Uint64(sector)
		may := []uint64{}
		if floor < 0 {
			may = append(may, 0) // never written
		}
		for _, o := range k.history[lba+uint64(i)][max(floor, 0):] {
			may = append(may, o.content())
		}
		switch {
		case !bytes.Equal(sector, bytes.Repeat(sector[:8], frame.SectorSize/8)):
			k.lost = append(k.lost, fmt.Sprintf("seed %d: %s: sector %d is torn", k.seed, what, lba+uint64(i)))
		case !slices.Contains(may, id):
			k.lost = append(k.lost, fmt.Sprintf("seed %d: %s: sector %d has %d, want one of %d", k.seed, what, lba+uint64(i), id, may))
		case id != 0:
			k.kept++
		}
	}
}

// check reads the whole disk after a crash. What is found is all there is from
// then on.
func (k *killer) check(when string) {
	for lba := uint64(0); lba < killSectors; lba += 8 {
		floors := k.floors(lba, 8, func(o *killOp) bool { return o.safe })
		f := k.read(e11, lba, 8)
		k.tap.in <- f
		for {
			a, data := ataOf(k.t, k.answer(k.tap, f))
			if a.Status()&frame.StatusFault == 0 {
				k.look(when, lba, data, floors)
				for i := range uint64(8) {
					o := &killOp{acked: true, safe: true, order: binary.LittleEndian.Uint64(data[i*frame.SectorSize:])}
					o.trim = o.order == 0
					k.history[lba+i] = []*killOp{o}
				}
				break
			}
			k.tap.in <- f // a read that was made to fail
		}
	}
	k.unsafe, k.said = nil, nil
}

// replay sends again, in order, what the last life did not answer.
func (k *killer) replay() {
	all := k.order()
	clear(k.flying)
	for _, o := range all {
		k.send(o)
	}
}
