package engine

import "slices"

// A ledger is what each sector may hold, as of the requests that have ended.
type ledger struct {
	sectors [simSectors]account
	cuts    int                // how often the power has failed
	begun   map[*Request]int   // how often it had when this was submitted
	promise map[*Request][]int // what was acknowledged when this flush was submitted
}

// An account is of one sector.
type account struct {
	log []uint64 // values that were acknowledged, or are in doubt, in order

	// Positions in the log: what was acknowledged last, and of that what was
	// flushed last. cut tells that the power failed since the former was
	// submitted, or while it was under way.
	acked, stable int
	cut           bool
}

func (l *ledger) begin() {
	l.begun, l.promise = map[*Request]int{}, map[*Request][]int{}
	for i := range l.sectors {
		l.sectors[i].log = []uint64{0}
	}
}

// may is what a sector may hold: what was acknowledged last, or what is in doubt
// since, and if the power has failed, what was flushed last, or anything since.
func (l *ledger) may(lba uint64) []uint64 {
	a := &l.sectors[lba]
	if a.cut {
		return a.log[a.stable:]
	}
	return a.log[a.acked:]
}

func (l *ledger) submitted(r *Request) {
	l.begun[r] = l.cuts
	if r.Kind == Flush {
		p := make([]int, simSectors)
		for i := range p {
			p[i] = l.sectors[i].acked
		}
		l.promise[r] = p
	}
}

func (l *ledger) acknowledged(r *Request, value uint64) {
	for lba := r.LBA; lba < r.LBA+r.Sectors; lba++ {
		a := &l.sectors[lba]
		a.log = append(a.log, value)
		a.acked = len(a.log) - 1
		a.cut = l.begun[r] != l.cuts
	}
}

func (l *ledger) inDoubt(r *Request, value uint64) {
	for lba := r.LBA; lba < r.LBA+r.Sectors; lba++ {
		a := &l.sectors[lba]
		a.log = append(a.log, value)
	}
}

func (l *ledger) powerFailed() {
	l.cuts++
	for i := range l.sectors {
		l.sectors[i].cut = true
	}
}

// flushed: what r promised is there for good.
func (l *ledger) flushed(r *Request) {
	for i, p := range l.promise[r] {
		a := &l.sectors[i]
		a.stable = max(a.stable, p)
	}
}

// reported: nothing that r would have promised is, any more.
func (l *ledger) reported(r *Request) {
	for i, p := range l.promise[r] {
		if a := &l.sectors[i]; a.acked <= p {
			a.acked = min(a.acked, a.stable)
			a.cut = true // what it holds now, it may hold for ever
		}
	}
}

// has reports whether value may be on stable storage in a sector. live are the
// requests that have not ended, with what they write.
func (l *ledger) has(lba, value uint64, live map[*Request]uint64) bool {
	a := &l.sectors[lba]
	if slices.Contains(a.log[a.stable:], value) {
		return true
	}
	for r, v := range live {
		if v == value && overlap(r.LBA, r.Sectors, lba, 1) {
			return true
		}
	}
	return false
}
