package attachtest

import (
	"net"
	"time"

	"aoe/initiator/attach"
)

// loop completes operations.
func (m *Memory) loop() {
	batch := make([]*request, 0, m.cfg.Requests)
	for {
		batch = batch[:0]
		m.accompany()
		select {
		case r := <-m.queue:
			batch = append(batch, r)
		case <-m.company.turns:
			continue
		case <-m.quit:
			m.failRest()
			m.farewell()
			return
		}
		m.waitWhileHeld()
	more:
		for {
			select {
			case r := <-m.queue:
				batch = append(batch, r)
			default:
				break more
			}
		}
		if m.cfg.Shuffle {
			m.cfg.Rand.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		}
		for _, r := range batch {
			m.complete(r)
		}
	}
}

// failRest ends what front ends still have when the disk is closed.
func (m *Memory) failRest() {
	for {
		m.mu.Lock()
		left, changed := m.admitted, m.changed
		m.waiters++
		m.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case r := <-m.queue:
			r.err = net.ErrClosed
			m.call(r)
			m.accompany()
		case <-m.company.turns:
			m.accompany()
		case <-changed:
		}
	}
}

func (m *Memory) complete(r *request) {
	select {
	case <-m.quit:
		r.err = net.ErrClosed
	default:
		if m.cfg.Fault != nil {
			r.err = m.cfg.Fault(r.op)
		}
	}
	if r.err == nil {
		m.do(r)
		m.counts[r.op.Kind].Add(1)
		m.bytes[r.op.Kind].Add(uint64(r.op.Length))
	}
	m.call(r)
}

func (m *Memory) call(r *request) {
	m.change(func() { m.inFlight-- })
	r.to(submitted, ended)
	r.done(r)
}

func (m *Memory) do(r *request) {
	m.dataMu.Lock()
	defer m.dataMu.Unlock()
	at := m.data[r.op.Offset:][:r.op.Length]
	switch r.op.Kind {
	case attach.Read:
		for _, s := range r.segs {
			at = at[copy(s, at):]
		}
	case attach.Write:
		for _, s := range r.segs {
			at = at[copy(at, s):]
		}
	case attach.Trim:
		if m.info.TrimZeroes {
			clear(at)
			return
		}
		for i := range at {
			at[i] = 0x5a // anything, and certainly not zeros
		}
	}
}

// change changes what is guarded by mu and wakes who waits for that.
func (m *Memory) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.wakeLocked()
}

func (m *Memory) wakeLocked() {
	if m.waiters > 0 {
		close(m.changed)
		m.changed = make(chan struct{})
		m.waiters = 0
	}
}

// Hold stops completions: what is submitted stays in flight until Resume.
func (m *Memory) Hold() { m.change(func() { m.held = true }) }

// Resume ends Hold.
func (m *Memory) Resume() { m.change(func() { m.held = false }) }

// waitWhileHeld gives companions their turns meanwhile.
func (m *Memory) waitWhileHeld() {
	for {
		m.mu.Lock()
		held, changed := m.held, m.changed
		if held {
			m.waiters++
		}
		m.mu.Unlock()
		if !held {
			return
		}
		select {
		case <-changed:
		case <-m.company.turns:
			m.accompany()
		}
	}
}

// WaitInFlight waits until at least n operations are submitted and not
// completed, and reports whether that happened within timeout.
func (m *Memory) WaitInFlight(n int, timeout time.Duration) bool {
	return m.wait(timeout, func() bool { return m.inFlight >= n })
}

// Peak is how many operations were in flight at once, at most.
func (m *Memory) Peak() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// Admitted is how many operations are admitted and not released: what front
// ends hold of the disk.
func (m *Memory) Admitted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admitted
}

// wait waits until holds is true of the fields guarded by mu; timeout zero
// waits for ever.
func (m *Memory) wait(timeout time.Duration, holds func() bool) bool {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	for {
		m.mu.Lock()
		ok := holds()
		changed := m.changed
		if !ok {
			m.waiters++
		}
		m.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-expired:
			return false
		}
	}
}
