package target

import (
	"fmt"
	"log/slog"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// An event is something to be logged. The goroutines that serve make events and
// leave the writing, which may block, to the watcher.
type event struct {
	what  happening
	disk  *disk
	port  *port
	state link.State
	err   error
}

type happening uint8

const (
	diskAdded happening = iota
	diskRemoved
	linkChanged
	linkEnded
	linkRemoved
)

// note leaves an event to the watcher. One that finds no room is lost: the
// state it told of is in Stats.
func (s *Server) note(e event) {
	select {
	case s.events <- e:
	default:
	}
}

// watch logs events, and looks after the disks from time to time, until stop.
func (s *Server) watch(stop <-chan struct{}) {
	var tick <-chan time.Time
	if s.cfg.Watch > 0 {
		t := time.NewTicker(s.cfg.Watch)
		defer t.Stop()
		tick = t.C
	}
	told := map[*disk]logged{}
	for {
		select {
		case <-stop:
			s.logPending()
			return
		case e := <-s.events:
			s.log(e)
		case <-tick:
			for _, d := range s.all() {
				s.look(d)
				told[d] = s.logChanges(d, told[d])
			}
			for d := range told {
				if s.disk(d.addr) != d {
					delete(told, d)
				}
			}
		}
	}
}

// logPending writes what is left when the server stops.
func (s *Server) logPending() {
	for {
		select {
		case e := <-s.events:
			s.log(e)
		default:
			return
		}
	}
}

func (s *Server) log(e event) {
	switch e.what {
	case diskAdded:
		d := e.disk
		s.cfg.Log.Info("serving", "disk", d.addr.String(), "store", d.info.Name, "sectors", d.sectorsNow(),
			"serial", d.serial, "mode", d.mode.String(), "readOnly", d.readOnly)
		if d.info.Tail > 0 && d.length == 0 {
			s.cfg.Log.Warn("the end of the store is not a whole sector and not served",
				"disk", d.addr.String(), "bytes", d.info.Tail)
		}
	case diskRemoved:
		s.cfg.Log.Info("no longer serving", "disk", e.disk.addr.String(), errAttr(e.err))
	case linkChanged:
		s.cfg.Log.Info("link", "name", e.state.Name, "mac", e.state.MAC.String(), "mtu", e.state.MTU,
			"up", e.state.Up, "sectors", e.port.sectorsOf(e.state))
	case linkRemoved:
		s.cfg.Log.Info("no longer on", "name", e.state.Name, errAttr(e.err))
	case linkEnded:
		s.cfg.Log.Error("link failed", "name", e.port.link.State().Name, errAttr(e.err))
	}
}

func errAttr(err error) slog.Attr {
	if err == nil {
		return slog.Attr{} // is left out
	}
	return slog.String("error", err.Error())
}

// look notices that a store has another size, or that it turned out not to
// trim, and tells everyone (H16). A disk that shrinks refuses what is behind its
// end from then on.
func (s *Server) look(d *disk) {
	size, err := d.store.Size()
	if err != nil {
		d.mu.Lock()
		if !d.sizeless { // told once
			d.sizeless, d.broken = true, err
			d.counts.SizeErrors++
		}
		d.mu.Unlock()
		return
	}
	trim := d.canTrim()
	d.mu.Lock()
	d.sizeless = false
	sectors := d.servedLocked(uint64(min(size/frame.SectorSize, frame.MaxSectors)))
	before := d.sectors
	changed := sectors != before || trim != d.trim
	if changed {
		d.resizeLocked(sectors, trim)
	}
	d.mu.Unlock()
	if changed {
		s.cfg.Log.Info("disk changed", "disk", d.addr.String(), "sectors", sectors, "before", before, "trim", trim)
		s.announce(d)
	}
}

// logged is what the log has told of a disk.
type logged struct {
	DiskCounts
	away    bool   // its store does not tell its size
	dropped uint64 // requests for want of a buffer, since the log said that some are
	calm    int    // looks since the last of them
}

// calmAfter looks without a request dropped it is over.
const calmAfter = 10

// logChanges tells what has failed, and what was edited, since told.
func (s *Server) logChanges(d *disk, told logged) logged {
	d.mu.Lock()
	now, failed, broken, set, away := d.counts, d.failed, d.broken, d.settings, d.sizeless
	d.mu.Unlock()
	if now.Edits != told.Edits {
		s.cfg.Log.Info("settings edited", "disk", d.addr.String(), "edits", now.Edits-told.Edits,
			"mask", fmt.Sprint(set.Mask), "reserve", fmt.Sprint(set.Reserve), "configString", string(set.ConfigString))
	}
	if now.SyncErrors != told.SyncErrors {
		s.cfg.Log.Error("a sync failed: writes were lost; all writes and flushes fail until the disk is added anew",
			"disk", d.addr.String(), errAttr(failed))
	}
	count := func(c DiskCounts) uint64 { return c.ReadErrors + c.WriteErrors + c.KeepErrors + c.SizeErrors }
	if count(now) != count(told.DiskCounts) {
		s.cfg.Log.Error("the store failed", "disk", d.addr.String(), "reads", now.ReadErrors-told.ReadErrors,
			"writes", now.WriteErrors-told.WriteErrors, "edits", now.KeepErrors-told.KeepErrors,
			"size", now.SizeErrors-told.SizeErrors, errAttr(broken))
	}
	if told.away && !away {
		s.cfg.Log.Info("the store answers again", "disk", d.addr.String())
	}
	told.away = away
	s.logDropped(d, &told, now.Overflow-told.Overflow)
	told.DiskCounts = now
	return told
}

// logDropped tells when requests begin to find no buffer, and when that is over. A
// store that stands still makes it go on for as long.
func (s *Server) logDropped(d *disk, told *logged, n uint64) {
	switch {
	case n > 0 && told.dropped == 0:
		s.cfg.Log.Warn("requests are dropped for want of a buffer", "disk", d.addr.String(), "requests", n)
		fallthrough
	case n > 0:
		told.dropped, told.calm = told.dropped+n, 0
	case told.dropped > 0:
		if told.calm++; told.calm == calmAfter {
			s.cfg.Log.Info("requests are no longer dropped", "disk", d.addr.String(), "requests", told.dropped)
			told.dropped = 0
		}
	}
}
