package target

import "aoe/frame"

// work carries out what has to wait, until the queue is closed.
func (d *disk) work() {
	for r := range d.queue {
		off := int64(r.from) * frame.SectorSize
		switch r.what {
		case doRead:
			_, err := d.store.ReadAt(r.data(r.buf), off)
			d.finish(r, err)
		case doWrite:
			_, err := d.store.WriteAt(r.data(r.buf), off)
			if err != nil || d.mode != WriteThrough {
				d.finish(r, err)
				continue
			}
			d.sync(r)
		case doFlush:
			d.sync(r)
		case doTrim:
			d.finish(r, d.discard(r))
		case doEdit:
			d.answer(r, d.edit(&r.claim, r.buf[:r.n]))
		default:
			panic("target: a request in the queue that needs no waiting")
		}
	}
}

// discard carries out a TRIM, range by range.
func (d *disk) discard(r *request) error {
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

// sync answers r when a sync that began after r was written has ended. Requests
// that come while one is under way wait for the next, all together, and take no
// worker with them: at depth 32, thirty-two writes share two syncs.
func (d *disk) sync(r *request) {
	d.mu.Lock()
	d.unsynced = append(d.unsynced, r) // has room for every buffer of the disk
	if d.syncing {
		d.mu.Unlock()
		return
	}
	d.syncing = true
	for len(d.unsynced) > 0 {
		d.commit.batch, d.unsynced = d.unsynced, d.commit.batch[:0]
		err := d.failed
		d.mu.Unlock()

		fresh := err == nil
		if fresh {
			err = d.store.Sync()
		}
		d.mu.Lock()
		d.counts.Syncs++
		if fresh && err != nil {
			d.failLocked(err)
		}
		d.committedLocked(err)
	}
	d.syncing = false
	d.mu.Unlock()
}

// committedLocked answers the batch whose sync has ended with err. It lets go of
// the lock to send.
func (d *disk) committedLocked(err error) {
	batch := d.commit.batch
	for _, r := range batch {
		r.one[0] = r.answerATA(r.buf, d.addr, d.resultLocked(&r.claim, false, err))
		d.doneLocked(r)
	}
	d.mu.Unlock()
	for i := 0; i < len(batch); {
		p := batch[i].port
		frames := d.commit.frames[:0]
		for ; i < len(batch) && batch[i].port == p; i++ {
			frames = append(frames, batch[i].one[0])
		}
		p.link.Send(frames)
		clear(frames)
	}
	d.mu.Lock()
	for i, r := range batch {
		d.releaseLocked(r)
		batch[i] = nil
	}
}

// finish ends the held request r with the store's err, and answers it.
func (d *disk) finish(r *request, err error) {
	d.mu.Lock()
	out := d.resultLocked(&r.claim, false, err)
	d.mu.Unlock()
	d.answer(r, r.answerATA(r.buf, d.addr, out))
}

// answer sends what became of the held request r, and takes its buffer back.
// The order is over before the answer is out: who has got it may rely on it.
func (d *disk) answer(r *request, reply []byte) {
	d.mu.Lock()
	d.doneLocked(r)
	d.mu.Unlock()
	if reply != nil {
		r.one[0] = reply
		r.port.link.Send(r.one[:])
	}
	d.mu.Lock()
	d.releaseLocked(r)
	d.mu.Unlock()
}

// resultLocked makes an outcome of what the store said, and counts it. A failed
// store is an error of ATA, and never the end of the server (H18).
func (d *disk) resultLocked(c *claim, atSync bool, err error) outcome {
	n := uint64(c.ata.Count) * frame.SectorSize
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
