package target

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"aoe/frame"
	"aoe/target/store"
)

// A disk is a Disk being served. Requests come in from the receive goroutines
// of all ports and from its workers, which meet under mu for as long as it takes
// to look at the active requests.
type disk struct {
	addr     frame.Addr
	store    store.Store
	prompt   store.Prompt   // nil if the store always waits
	gather   store.Gatherer // nil if it does one thing at a time
	info     store.Info     // as of AddDisk
	mode     Mode
	readOnly bool
	serial   string
	model    string
	instance frame.Instance
	verifier frame.Verifier
	buffers  int // that it advertises
	keeper   Keeper

	lanes   lanes // to the goroutines that carry out what has to wait
	workers sync.WaitGroup
	drained chan struct{} // closed when it is closing and nothing is under way

	editing sync.Mutex // held while settings are kept, if there is a keeper

	mu       sync.Mutex
	sectors  uint64
	trim     bool
	identify [frame.IdentifyLen]byte
	settings *Settings // never changed, only replaced
	edits    WireEdits
	length   int64 // of what is served at most, in bytes; 0 is all there is
	seq      uint64
	active   []*request
	free     []*request // with their buffers
	shares   shares
	recent   recent
	closing  bool
	failed   error // of the first sync that failed: what it lost nobody knows
	broken   error // of the latest read, write or other call that failed
	sizeless bool  // the store does not tell its size
	counts   DiskCounts

	syncTimes Latency
	unsynced  []*request // written or asked to be flushed, waiting for the next sync
}

// newDisk reserves all that the disk will need, and asks the store and the
// keeper what they know.
func newDisk(cfg Config, c Disk) (*disk, error) {
	size, err := c.Store.Size()
	if err != nil {
		return nil, fmt.Errorf("target: %s: %w", c.Addr, err)
	}
	sectors := uint64(size / frame.SectorSize)
	if sectors == 0 || sectors > frame.MaxSectors {
		return nil, fmt.Errorf("target: %s: %d bytes cannot be a disk: at least %d, at most 2^48-1 sectors", c.Addr, size, frame.SectorSize)
	}
	var kept Settings
	if cfg.Keeper != nil {
		k, err := cfg.Keeper.Load(c.Addr)
		switch {
		case err == nil:
			kept = k
		case !errors.Is(err, ErrNothingKept):
			return nil, fmt.Errorf("target: %s: %w", c.Addr, err)
		}
	}
	if err := kept.validate(); err != nil {
		return nil, fmt.Errorf("target: %s: %w", c.Addr, err)
	}
	if c.Length > size {
		return nil, tooLong(c.Addr, c.Length, size)
	}
	buffers := cmp.Or(c.BufferCount, cfg.BufferCount)
	reserved := 2 * buffers
	d := &disk{
		addr: c.Addr, store: c.Store, info: c.Store.Info(), mode: c.Mode,
		serial: c.Serial, model: c.Model, instance: cfg.Instance,
		buffers:  buffers,
		keeper:   cfg.Keeper,
		lanes:    lanes{make(chan *request, reserved), make(chan *request, reserved), make(chan struct{}, 1)},
		drained:  make(chan struct{}),
		settings: kept.given(c.Given),
		edits:    cmp.Or(c.WireEdits, cfg.WireEdits),
		length:   c.Length,
		active:   make([]*request, 0, reserved),
		free:     make([]*request, reserved),
		shares:   newShares(reserved),
		recent:   newRecent(cfg.RecentWrites, copyLife),
		unsynced: make([]*request, 0, reserved),
	}
	d.readOnly = c.ReadOnly || d.info.ReadOnly
	d.verifier = verifierOf(d.info, d.instance)
	d.prompt, _ = c.Store.(store.Prompt)
	d.gather, _ = c.Store.(store.Gatherer)
	if d.serial == "" {
		d.serial = serialOf(d.info.Identity, d.addr)
	}
	if d.model == "" {
		d.model = defaultModel
	}
	for i, b := range newBuffers(reserved, cfg.MaxMTU) {
		d.free[i] = &request{buf: b}
	}
	d.resizeLocked(d.servedLocked(sectors), d.canTrim())
	d.start(cfg.Workers)
	return d, nil
}

// reserved is how many buffers there are.
func (d *disk) reserved() int { return cap(d.lanes.reads) }

// holdLocked makes r, whose frame is in *slot, a request of its own that can
// wait: it takes the buffer along and leaves an empty one in *slot. It returns
// nil when there is no buffer, or none for this initiator (H7, H23).
func (d *disk) holdLocked(r *request, slot *[]byte) *request {
	if !d.shares.take(r.src, d.seq, len(d.free) > 0) {
		d.counts.Overflow++
		return nil
	}
	h := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	h.claim, h.held = r.claim, true
	h.buf, *slot = full(*slot), h.buf
	d.counts.HeldMost = max(d.counts.HeldMost, uint64(d.reserved()-len(d.free)))
	return h
}

// releaseLocked takes back a held request that was answered.
func (d *disk) releaseLocked(r *request) {
	if !r.held {
		panic("target: a request released that was not held")
	}
	d.shares.give(r.src)
	r.claim, r.held, r.answer, r.err = claim{}, false, nil, nil
	d.free = append(d.free, r)
	d.drainedLocked()
}

// drainedLocked notices the end of the last request of a disk that is closing.
func (d *disk) drainedLocked() {
	if d.closing && len(d.active) == 0 && len(d.free) == d.reserved() {
		select {
		case <-d.drained:
		default:
			close(d.drained)
		}
	}
}

// resizeLocked takes over a new size, in the answer to IDENTIFY too.
func (d *disk) resizeLocked(sectors uint64, trim bool) {
	d.sectors, d.trim = sectors, trim
	frame.Identify{
		Serial:             d.serial,
		Firmware:           firmware,
		Model:              d.model,
		Sectors:            sectors,
		WriteCache:         d.mode == ModeFlush && !d.readOnly,
		Flush:              true,
		FlushExt:           true,
		Trim:               trim,
		TrimZeroes:         trim && d.store.Info().TrimZeroes,
		PhysicalSectorSize: d.info.PhysicalBlock,
		Instance:           d.instance,
		Verifier:           d.verifier,
	}.Append(d.identify[:0])
}

// canTrim asks anew: a file system may turn out not to do it.
func (d *disk) canTrim() bool { return !d.readOnly && d.store.Info().Trim }

// failLocked remembers that a sync failed, for good (H17).
func (d *disk) failLocked(err error) {
	d.counts.SyncErrors++
	if d.failed == nil {
		d.failed = err
	}
}

// close ends the disk: what is under way is carried out and answered, what
// comes later finds no disk. The store is synced, because a disk in flush mode
// owes that to those who did not flush, and closed. The error of a sync that failed
// at any time is told here once more (H17).
func (d *disk) close() error {
	d.mu.Lock()
	d.closing = true
	d.drainedLocked()
	d.mu.Unlock()
	<-d.drained     // nothing will be queued any more,
	d.end()         // so the workers can end,
	err := d.failed // and nobody uses the store.
	if err == nil && !d.readOnly {
		err = d.store.Sync()
	}
	if err = errors.Join(err, d.store.Close()); err != nil {
		return fmt.Errorf("target: closing %s: %w", d.addr, err)
	}
	return nil
}

func (d *disk) sectorsNow() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sectors
}

// settingsNow are the settings as of now.
func (d *disk) settingsNow() *Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings
}
