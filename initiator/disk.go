package initiator

import (
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A Disk is an AoE disk in use. See the package comment.
type Disk struct {
	cfg      Config
	target   Target
	identify frame.Identify // as at Open, except for the size
	flushOp  frame.Opcode   // 0: there is nothing to flush
	payload  int            // sectors in a frame, proven at Open
	plan     reserve.Plan
	sectors  atomic.Uint64 // as last told by the disk (H16)
	start    time.Time     // the engine's zero

	reserve  *reserve.Reserve
	requests []*Request    // all there are, by ID
	idle     chan *Request // those that nobody has
	inbox    inbox

	// The loop's.
	engine     *engine.Engine
	ports      []*port
	stocked    int // size of the first port's stock when last looked
	companions []Companion
	watcher    link.Watcher // the first port's, if there are companions
	turns      int          // of the companions
	called     bool         // somebody was called back since their last

	pumps sync.WaitGroup // goroutines of the other ports

	loopEnded chan struct{}
	linkErr   error // why the loop ended by itself; valid after loopEnded

	closed    chan struct{}
	closeOnce sync.Once

	closeMu       sync.Mutex
	reserveClosed bool
	lastReserve   reserve.Stats
	closeErr      error

	askMu         sync.Mutex // one asks for a snapshot at a time
	snapshotReady chan struct{}
	snapshotMu    sync.Mutex
	snapshot      snapshot // the loop writes it when asked, and when it ends
}

// Size is the disk's size in bytes, as it last told it itself.
func (d *Disk) Size() int64 { return int64(d.sectors.Load()) * frame.SectorSize }

// Identify is what the disk said of itself at Open, with the size of now.
func (d *Disk) Identify() frame.Identify {
	id := d.identify
	id.Sectors = d.sectors.Load()
	return id
}

// Target is the target as it answered at Open.
func (d *Disk) Target() Target { return d.target }

// Payload is how many bytes of data one frame carries on this path. Requests
// that are a multiple of it, and begin on a multiple of 4096, use it best.
func (d *Disk) Payload() int { return d.payload * frame.SectorSize }

// MaxRequest is the longest read or write in bytes that is one request.
func (d *Disk) MaxRequest() int { return d.cfg.MaxRequest }

// Depth is how many requests can be admitted at once.
func (d *Disk) Depth() int { return len(d.requests) }

// MaxTrim is the longest trim in bytes that is one request.
func (d *Disk) MaxTrim() int { return maxTrimSectors * frame.SectorSize / pageBytes * pageBytes }

// Plan is the bill of the disk's memory.
func (d *Disk) Plan() reserve.Plan { return d.plan }

// SetPressure tells of a shortage of memory in the system, or of its end; see
// reserve.Reserve.SetPressure.
func (d *Disk) SetPressure(on bool) {
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	if !d.reserveClosed {
		d.reserve.SetPressure(on)
	}
}

// reserveStats are the reserve's, also after it was closed.
func (d *Disk) reserveStats() reserve.Stats {
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	if d.reserveClosed {
		return d.lastReserve
	}
	return d.reserve.Stats()
}

// Close fails what is pending with net.ErrClosed, ends the loop and gives all
// memory back, the last of it when the last request is released. Nothing is
// flushed. The link stays open; it is the caller's.
func (d *Disk) Close() error {
	d.closeOnce.Do(func() {
		close(d.closed)
		d.inbox.ask(false, true)
	})
	<-d.loopEnded
	d.closeReserve()
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	return d.closeErr
}

// closeReserve gives the arena back once nobody can look into it any more: the
// loop has ended and every request is back.
func (d *Disk) closeReserve() {
	select {
	case <-d.loopEnded:
	default:
		return
	}
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	if !d.reserveClosed && len(d.idle) == len(d.requests) {
		d.reserveClosed, d.lastReserve = true, d.reserve.Stats()
		d.closeErr = d.reserve.Close()
	}
}
