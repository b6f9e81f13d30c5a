package target

import (
	"time"

	"aoe/frame"
)

// lanes lead to the goroutines that carry out what has to wait. Each disk has
// three kinds:
//
//   - readers, several, because reads that miss the cache wait for the device,
//     and the device can do several at once;
//   - writers: one for a file, which the file system lets be written by one at a
//     time anyway. It takes all that there is to be written, and hands it on. For
//     an NBD export so many that what waits for one flush is worth it;
//   - one that syncs, for all that was written meanwhile, and answers.
//
// One writer instead of eight made writes to a file on ext4 twice as fast: eight
// wait for each other's lock.
//
// There is no io_uring, because it helps where little is to be gained. A request
// is done at once by the receive goroutine where the page cache has it, which
// nothing beats, and the ring hands what cannot be done without waiting, all
// writes to tmpfs and ext4 among it, to threads of its own. Past the page cache it
// takes a third to a half of the processor's time and as long, because the device
// is what is waited for. Microseconds of processor time per 4 KiB, 32 at once, by
// BenchmarkWorkers in store, on a busy machine:
//
//	                inline   8 workers   io_uring
//	tmpfs read         1.8         2.7        4.2
//	tmpfs write        2.6         3.1        4.7
//	ext4 read          1.3         1.5        1.4
//	ext4 write         7.5         9.5       10.2
//	O_DIRECT read       47          25          7
//	O_DIRECT write      44          31         15
type lanes struct {
	reads  chan *request
	writes chan *request
	due    chan struct{} // there is something to be synced
}

// queueLocked gives r, which is held and may be carried out now, to those who
// do it. There is room in every lane for every buffer of the disk.
func (d *disk) queueLocked(r *request) {
	switch r.what {
	case doRead, doEdit:
		d.lanes.reads <- r
	case doWrite, doTrim:
		d.lanes.writes <- r
	case doFlush:
		d.unsyncedLocked(r)
	default:
		panic("target: a request queued that needs no waiting")
	}
}

// start runs the disk's goroutines.
func (d *disk) start(workers int) {
	for range workers {
		d.workers.Go(d.read)
	}
	writers := max(workers, d.info.Writers)
	if d.info.OneWriter {
		writers = 1
	}
	for range writers {
		d.workers.Go(d.write)
	}
	d.workers.Go(d.sync)
}

// end lets them end when they have nothing more to do.
func (d *disk) end() {
	close(d.lanes.reads)
	close(d.lanes.writes)
	close(d.lanes.due)
	d.workers.Wait()
}

func (d *disk) read() {
	a := d.newAnswers(1)
	for r := range d.lanes.reads {
		if r.what == doEdit {
			r.answer = d.edit(&r.claim, r.buf[:r.n])
		} else {
			_, r.err = d.store.ReadAt(r.data(r.buf), int64(r.from)*frame.SectorSize)
		}
		a.batch = append(a.batch, r)
		a.send(d)
	}
}

// write writes what there is to be written, all that has arrived at a time.
// What has to be synced goes on to sync, the rest is answered.
func (d *disk) write() {
	most := d.reserved()
	if d.oneByOne() {
		most = 1
	}
	a := d.newAnswers(most)
	written := make([]*request, 0, most)
	together := make([]*request, 0, replyBatch)
	data := make([][]byte, replyBatch)
	for r := range d.lanes.writes {
		for r != nil {
			var next *request
			together, next = d.writeStreak(append(together[:0], r), len(a.batch))
			d.changeTogether(together, data)
			for _, r := range together {
				if r.err == nil && d.mode.answersSynced() {
					written = append(written, r)
				} else {
					a.batch = append(a.batch, r)
				}
			}
			r = next
		}
		clear(together[:cap(together)])
		if len(written) > 0 {
			d.mu.Lock()
			d.unsyncedLocked(written...)
			d.mu.Unlock()
			clear(written)
			written = written[:0]
		}
		a.send(d)
	}
}

// oneByOne reports whether a write takes so long that one which is done had better
// not wait for another.
func (d *disk) oneByOne() bool { return d.info.Writers > 0 }

// nextWrite is what else there is to be written now, unless so many answers
// are ready that they had better be sent.
func (d *disk) nextWrite(ready int) *request {
	if ready >= replyBatch || d.oneByOne() {
		return nil
	}
	select {
	case r := <-d.lanes.writes:
		return r // nil when there will be no more
	default:
		return nil
	}
}

// writeStreak adds to rs, which has one, what follows it and is there already. next is
// what does not, or nil: there is nothing, or what is ready had better be answered.
func (d *disk) writeStreak(rs []*request, ready int) (_ []*request, next *request) {
	for {
		answers := ready
		if !d.mode.answersSynced() {
			answers += len(rs)
		}
		next = d.nextWrite(answers)
		if next == nil || d.gather == nil || len(rs) == cap(rs) || next.what != doWrite || !next.follows(&rs[len(rs)-1].claim) {
			return rs, next
		}
		rs = append(rs, next)
	}
}

// change carries out a write or a trim.
func (d *disk) change(r *request) error {
	if r.what == doWrite {
		_, err := d.store.WriteAt(r.data(r.buf), int64(r.from)*frame.SectorSize)
		return err
	}
	data := r.data(r.buf)
	for i := range len(data) / frame.TrimRangeLen {
		t := frame.ParseTrimRange(data, i)
		if t.Sectors == 0 {
			continue
		}
		if err := d.store.Trim(int64(t.LBA)*frame.SectorSize, int64(t.Sectors)*frame.SectorSize); err != nil {
			return err
		}
	}
	return nil
}

// unsyncedLocked lets rs wait for the next sync.
func (d *disk) unsyncedLocked(rs ...*request) {
	d.unsynced = append(d.unsynced, rs...) // has room for every buffer of the disk
	select {
	case d.lanes.due <- struct{}{}:
	default: // it is known already
	}
}

// sync syncs for all who wait, and answers them. Who comes while a sync is under
// way waits for the next, all together: at depth 32, thirty-two writes share two
// syncs.
func (d *disk) sync() {
	a := d.newAnswers(d.reserved())
	for range d.lanes.due {
		d.mu.Lock()
		a.batch, d.unsynced = d.unsynced, a.batch
		err := d.failed
		d.mu.Unlock()
		if len(a.batch) == 0 {
			continue
		}
		if err == nil {
			began := time.Now()
			err = d.store.Sync()
			took := time.Since(began)
			d.mu.Lock()
			d.counts.Syncs++
			d.syncTimes.add(took)
			if err != nil {
				d.failLocked(err)
			}
			d.mu.Unlock()
		}
		for _, r := range a.batch {
			r.err = err
		}
		a.send(d)
	}
}

// answers are the requests that a goroutine has carried out and not yet
// answered.
type answers struct {
	batch  []*request
	frames [][]byte
}

func (d *disk) newAnswers(most int) *answers {
	return &answers{batch: make([]*request, 0, most), frames: make([][]byte, 0, most)}
}

// send answers the batch and takes the buffers back. The order is over before
// the answers are out: who has got one may rely on it.
func (a *answers) send(d *disk) {
	now := time.Now()
	d.mu.Lock()
	for _, r := range a.batch {
		if r.what != doEdit {
			r.answer = d.answerATA(&r.claim, r.buf, d.resultLocked(&r.claim, now, false, r.err))
		}
		d.doneLocked(r)
	}
	d.mu.Unlock()
	for i := 0; i < len(a.batch); {
		p := a.batch[i].port
		a.frames = a.frames[:0]
		for ; i < len(a.batch) && a.batch[i].port == p; i++ {
			a.frames = append(a.frames, a.batch[i].answer)
		}
		p.link.Send(a.frames) // what cannot be sent is lost, and counted by the link
		clear(a.frames)
	}
	d.mu.Lock()
	for i, r := range a.batch {
		d.releaseLocked(r)
		a.batch[i] = nil
	}
	d.mu.Unlock()
	a.batch = a.batch[:0]
}

// resultLocked makes an outcome of what the store said by then, and counts it. A failed
// store is an error of ATA, and never the end of the server (H18).
func (d *disk) resultLocked(c *claim, at time.Time, atSync bool, err error) outcome {
	n := uint64(c.ata.Count) * frame.SectorSize
	if c.changes {
		d.recent.addLocked(c, at, err != nil)
	}
	if err != nil {
		if atSync {
			d.failLocked(err)
		} else if d.failed == nil {
			d.broken = err
		}
		switch c.what {
		case doRead:
			d.counts.ReadErrors++
			return uncorrected
		case doFlush:
			d.counts.FlushErrors++
		default:
			d.counts.WriteErrors++
		}
		return deviceFailed
	}
	switch c.what {
	case doRead:
		d.counts.Reads++
		d.counts.ReadBytes += n
	case doWrite:
		d.counts.Writes++
		d.counts.WriteBytes += n
	case doFlush:
		d.counts.Flushes++
	case doTrim:
		d.counts.Trims++
	}
	return succeeded
}
