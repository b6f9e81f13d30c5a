package harden

import (
	"errors"
	"fmt"
)

// lockChunk is the unit in which memory that was never touched is told from
// memory in use. Where 1 MiB made 10 MiB of the runtime's tables stay that are
// not used, this makes less than 1.
const lockChunk = 64 << 10

// lockHuge is more than a process of ours can use of one mapping: it is a table,
// like the race detector's, and asking for each piece of it would take minutes.
const lockHuge = 1 << 30

// lockMemory locks what is mapped now, and what will be. mlockall(2) with
// MCL_CURRENT would bring in every page of every mapping, among them the 32 MiB
// index of the Go heap and the 32 MiB that crypto/internal/fips140/drbg sets
// aside, of which some KiB are used: 84 MiB instead of 20, on a machine that
// has 128. With MCL_ONFAULT on everything the first use of each page would be a
// fault in the I/O path. So, of anonymous mappings, a piece of which not a single
// page is in memory after the rehearsal is locked as it is touched; all others
// are brought in whole.
func (p *Process) lockMemory() (locked, sparse uintptr, err error) {
	// First what comes, then what is there: nothing slips through in between.
	if err := p.sys.lockFuture(); err != nil {
		return 0, 0, err
	}
	locked, sparse, err = p.lockPresent()
	if err != nil {
		err = errors.Join(err, p.sys.unlock()) // half of it is of no use, and may run into a limit later
	}
	return locked, sparse, err
}

func (p *Process) lockPresent() (locked, sparse uintptr, err error) {
	all, err := p.sys.mappings()
	if err != nil {
		return 0, 0, err
	}
	for _, m := range all {
		if !m.accessible || m.special {
			continue // reserved addresses without memory, or the kernel's own
		}
		n, s, err := p.lockMapping(m)
		if err != nil && !errors.Is(err, errGone) {
			return 0, 0, fmt.Errorf("%x-%x: %w", m.start, m.end, err)
		}
		locked, sparse = locked+n, sparse+s
	}
	return locked, sparse, nil
}

// errGone means that a mapping was taken away since it was listed.
var errGone = errors.New("no longer mapped")

func (p *Process) lockMapping(m mapping) (locked, sparse uintptr, err error) {
	switch {
	case !m.anonymous || m.bytes() <= lockChunk:
		return m.bytes(), 0, p.sys.lock(m.start, m.bytes(), false)
	case m.bytes() > lockHuge:
		return 0, m.bytes(), p.sys.lock(m.start, m.bytes(), true)
	}
	for at := m.start; at < m.end; {
		end, used, err := p.run(at, m.end)
		if err != nil {
			return locked, sparse, err
		}
		if err := p.sys.lock(at, end-at, !used); err != nil {
			return locked, sparse, err
		}
		if used {
			locked += end - at
		} else {
			sparse += end - at
		}
		at = end
	}
	return locked, sparse, nil
}

// run is where the chunks end that are in use like the one at start.
func (p *Process) run(start, limit uintptr) (end uintptr, used bool, err error) {
	for end = start; end < limit; {
		n := min(lockChunk-end%lockChunk, limit-end)
		u, err := p.sys.resident(end, n)
		if err != nil {
			return end, used, err
		}
		if end > start && u != used {
			break
		}
		end, used = end+n, u
	}
	return end, used, nil
}
