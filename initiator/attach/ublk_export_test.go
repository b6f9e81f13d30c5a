package attach

import "sync"

// UblkDriver is the kernel's side of a ublk queue, for tests of the queue
// without that kernel. It is as strict as the driver, and where the driver
// would return an error it panics.
type UblkDriver struct {
	mu      sync.Mutex
	changed *sync.Cond
	tags    []ublkTag
	queued  []ublkEvent // told by the next wait
	woken   bool
	waiting bool
	stopped bool
	told    int    // what news is
	tell    func() // says so
	Waits   int    // calls of wait
}

type ublkTag struct {
	asked    bool // the queue asked for a request and has none
	served   bool // the queue has one
	inFlight bool // somebody waits in Do
	staged   []func()
	desc     ublkDesc
	data     []byte
	result   int32
	done     bool
}

// NewUblkDriver makes a driver with that many tags.
func NewUblkDriver(depth int) *UblkDriver {
	k := &UblkDriver{tags: make([]ublkTag, depth)}
	k.told, k.tell = newNews()
	k.changed = sync.NewCond(&k.mu)
	return k
}

// Operations and flags of UblkDriver.Do.
const (
	UblkOpRead        = ublkOpRead
	UblkOpWrite       = ublkOpWrite
	UblkOpFlush       = ublkOpFlush
	UblkOpDiscard     = ublkOpDiscard
	UblkOpWriteZeroes = ublkOpWriteZeroes
	UblkFUA           = ublkFUA
	UblkNoUnmap       = ublkNoUnmap
)

// UblkQueue is a queue under test.
type UblkQueue struct{ q *ublkQueue }

// ServeUblk runs a queue between the driver and the disk.
func ServeUblk(k *UblkDriver, disk Disk, onThread func()) UblkQueue {
	info, err := disk.Info().withDefaults()
	if err != nil {
		panic(err)
	}
	q := newUblkQueue(disk, info, k, len(k.tags), onThread)
	if err := q.open(); err != nil {
		panic(err)
	}
	return UblkQueue{q}
}

// GiveUp, Done, Stats and Err are the queue's.
func (u UblkQueue) GiveUp()               { u.q.giveUp() }
func (u UblkQueue) Done() <-chan struct{} { return u.q.done }
func (u UblkQueue) Stats() UBLKStats      { return u.q.snapshot() }
func (u UblkQueue) Err() error            { return u.q.err }

// Do does one request like the block layer: it waits for a free tag, and for
// the outcome. data is what is written, or where what is read goes.
func (k *UblkDriver) Do(op uint8, flags uint32, start uint64, sectors uint32, data []byte) int32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	tag := -1
	for tag < 0 {
		for i := range k.tags {
			if t := &k.tags[i]; t.asked && !t.inFlight {
				tag = i
				break
			}
		}
		if tag < 0 {
			k.changed.Wait()
		}
	}
	t := &k.tags[tag]
	t.inFlight, t.asked, t.served, t.done = true, false, true, false
	t.desc, t.data = ublkDesc{op: op, flags: flags, sectors: sectors, start: start}, data
	k.queued = append(k.queued, ublkEvent{tag: tag})
	k.tell()
	k.changed.Broadcast()
	for !t.done {
		k.changed.Wait()
	}
	t.inFlight, t.data = false, nil
	k.changed.Broadcast()
	return t.result
}

// Stop takes every tag back, each when it is free.
func (k *UblkDriver) Stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	for i := range k.tags {
		if t := &k.tags[i]; t.asked {
			t.asked = false
			k.queued = append(k.queued, ublkEvent{tag: i, result: ublkAborted})
		}
	}
	k.tell()
	k.changed.Broadcast()
}

// Break lets the driver refuse a tag, as it refuses a second process.
func (k *UblkDriver) Break() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queued = append(k.queued, ublkEvent{result: -22})
	k.tell()
	k.changed.Broadcast()
}

func (k *UblkDriver) open() error { return nil }

func (k *UblkDriver) news() int { return k.told }

func (k *UblkDriver) staged() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.tags {
		if len(k.tags[i].staged) > 0 {
			return true
		}
	}
	return false
}

func (k *UblkDriver) stage(tag int, f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tags[tag].staged = append(k.tags[tag].staged, f)
}

func (k *UblkDriver) fetch(tag int) {
	k.stage(tag, func() {
		t := &k.tags[tag]
		if t.asked || t.served {
			panic("ublk driver: tag fetched twice")
		}
		k.free(tag)
	})
}

func (k *UblkDriver) commit(tag int, result int32) {
	k.stage(tag, func() {
		t := &k.tags[tag]
		if !t.served {
			panic("ublk driver: commit of a tag without request")
		}
		t.served, t.done, t.result = false, true, result
		k.free(tag)
	})
}

func (k *UblkDriver) free(tag int) {
	if k.stopped {
		k.queued = append(k.queued, ublkEvent{tag: tag, result: ublkAborted})
		k.tell()
		return
	}
	k.tags[tag].asked = true
}

func (k *UblkDriver) wait(events []ublkEvent, block bool) ([]ublkEvent, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Waits++
	for i := range k.tags {
		for _, f := range k.tags[i].staged {
			f()
		}
		k.tags[i].staged = k.tags[i].staged[:0]
	}
	k.changed.Broadcast()
	for k.waiting = true; block && len(k.queued) == 0 && !k.woken; {
		k.changed.Wait()
	}
	k.waiting, k.woken = false, false
	events = append(events, k.queued...)
	k.queued = k.queued[:0]
	return events, nil
}

func (k *UblkDriver) wake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.woken = true
	k.changed.Broadcast()
}

func (k *UblkDriver) desc(tag int) ublkDesc { return k.tags[tag].desc }

func (k *UblkDriver) take(tag int, offset int64, segs [][]byte) error {
	return k.move(tag, offset, segs, ublkOpWrite, func(seg, data []byte) int { return copy(seg, data) })
}

func (k *UblkDriver) give(tag int, offset int64, segs [][]byte) error {
	return k.move(tag, offset, segs, ublkOpRead, func(seg, data []byte) int { return copy(data, seg) })
}

func (k *UblkDriver) move(tag int, offset int64, segs [][]byte, op uint8, f func(seg, data []byte) int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := &k.tags[tag]
	if !t.served || t.desc.op != op {
		panic("ublk driver: data of a tag that has no such request")
	}
	for _, s := range segs {
		if n := f(s, t.data[offset:]); n != len(s) {
			panic("ublk driver: more data than the request has")
		}
		offset += int64(len(s))
	}
	return nil
}
