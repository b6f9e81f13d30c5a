package reserve

import "errors"

// Why normal allocation failed without the system having been asked.
var (
	errInjected = errors.New("reserve: injected fault")
	errKeep     = errors.New("reserve: the system has too little memory available")
)

// The system is only ever asked here, by one goroutine at a time and without
// the lock: mmap(2) may reclaim memory before it returns, and reclaiming may
// wait for a page to be written to the very disk that our buffers serve. If it
// does, nothing but growing waits: claims go on from the reserve.

// grower keeps normal memory ahead of need, and returns it under pressure.
func (r *Reserve) grower() {
	defer close(r.stopped)
	for range r.wake {
		r.work()
	}
}

// work does what hasWork sees, unless another goroutine is at it.
func (r *Reserve) work() {
	r.mu.Lock()
	if r.working {
		r.mu.Unlock()
		return
	}
	r.working = true
	for r.hasWork() {
		if r.shouldShrink() != nil {
			r.shrink()
		} else {
			r.grow()
		}
		// Whoever was served by that must not wait for the next system call.
		r.unlock()
		r.mu.Lock()
	}
	r.working = false
	r.mu.Unlock()
}

func (r *Reserve) hasWork() bool {
	return !r.closed && (r.shouldGrow() || r.shouldShrink() != nil)
}

// ahead is how much normal memory should lie free: the largest claim, or a
// slab, so that the next is mapped while this one is being used.
func (r *Reserve) ahead() int { return max(r.largest, int(r.slabs.per)) }

// shouldGrow: in normal, ahead of need once sealed, and before that for whoever
// waits; in crunch only when the regime wants to know whether it may end.
func (r *Reserve) shouldGrow() bool {
	if r.regime.pressure || r.slabs.mapped == r.slabs.budget {
		return false
	}
	if r.regime.now == Crunch {
		return r.regime.probing
	}
	need := 0
	if r.sealed {
		need = r.ahead()
	} else if r.waiting.n > 0 {
		need = r.waiting.first.n
	}
	return need > 0 && r.freeNormal()-r.missing() < need
}

// shouldShrink is a slab to return: there is pressure, nothing in it is used,
// and what stays still backs what the stocks hold above their guarantee.
func (r *Reserve) shouldShrink() *slab {
	if !r.regime.pressure || r.slabs.idle == 0 {
		return nil
	}
	return r.slabs.idleOne(r.slabs.mapped - r.surplus())
}

// grow maps one slab. It is called with the lock held, and drops it meanwhile.
func (r *Reserve) grow() bool {
	sl := r.slabs.absent()
	mapping, err := sl.mapping, error(nil)
	if r.injected() {
		err = errInjected
	} else if mapping == nil { // otherwise unmapping it failed: it is still there
		r.mu.Unlock()
		mapping, err = r.mapSlab(len(sl.buffers))
		r.mu.Lock()
	}
	if err != nil {
		r.stats.growthFailures++
		r.normalFailed()
		r.serve() // from the reserve
		return false
	}
	r.slabs.add(sl, mapping, r.layout)
	r.stats.slabsMapped++
	r.regime.late = 0
	if r.missing() > 0 {
		r.version.Add(1)
	}
	if r.regime.now == Crunch {
		r.maybeLeaveCrunch()
	}
	r.serve()
	return true
}

func (r *Reserve) mapSlab(buffers int) ([]byte, error) {
	bytes := r.layout.bytes(buffers)
	if r.keep > 0 && r.mem.available()-int64(bytes) < r.keep {
		return nil, errKeep
	}
	return r.mem.mapping(bytes, r.cfg.Lock)
}

// shrink unmaps one idle slab, the lock dropped meanwhile.
func (r *Reserve) shrink() {
	sl := r.shouldShrink()
	mapping := r.slabs.remove(sl)
	r.mu.Unlock()
	err := r.mem.unmap(mapping)
	r.mu.Lock()
	if err != nil {
		// "ENOMEM: the process's maximum number of mappings would have been
		// exceeded" (munmap(2)), by splitting one. The memory is still there,
		// and grow will use it again.
		r.stats.unmapFailures++
		return
	}
	sl.mapping = nil
	r.stats.slabsReturned++
}

// prepare grows normal memory on the caller's goroutine, before Seal, until a
// claim of n finds it.
func (r *Reserve) prepare(n int) {
	r.mu.Lock()
	for !r.sealed && !r.closed && !r.working && r.regime.now == Normal && !r.regime.pressure &&
		r.slabs.mapped < r.slabs.budget && r.freeNormal()-r.missing() < n {
		r.working = true
		ok := r.grow()
		r.working = false
		if !ok {
			break
		}
	}
	r.unlock()
}
