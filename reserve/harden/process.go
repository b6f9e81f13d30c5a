package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// A Config says how to treat failures. The zero value goes on.
type Config struct {
	// Strict makes every failed step an error.
	Strict bool
	// Without are steps to be left out, to find out what each is good for.
	// They count as failed, but not for Strict.
	Without []string
}

// A Process is this process on its way to being sealed.
type Process struct {
	sys     system
	strict  bool
	without []string

	mu       sync.Mutex
	steps    Steps
	realTime int    // threads that were made so
	swept    uint64 // heapAllocated at the last collection
	threads  int    // when last checked; 0: never
	held     [sysctls]hold
}

// A hold is a setting of the machine that is to stay as it is while the disk is in use.
type hold struct {
	wanted  bool
	value   int  // it is to be that
	atLeast bool // or more
	changed bool // by us
	was     int  // before
}

// holds reports whether n will do.
func (h *hold) holds(n int) bool { return n == h.value || h.atLeast && n > h.value }

// Begin takes the step that has to come before all others: every thread of the
// process, those of the runtime included, must be one that memory reclaim does
// not wait for. The flag is a thread's, inherited by the threads that it makes
// and kept by execve, so it is set on one thread which then executes the program
// again, with the same arguments. In that process Begin looks at all threads.
func Begin(cfg Config) (*Process, error) { return begin(cfg, realSystem()) }

func begin(cfg Config, sys system) (*Process, error) {
	p := &Process{sys: sys, strict: cfg.Strict, without: cfg.Without}
	for _, name := range cfg.Without {
		if _, ok := consequences[name]; !ok {
			return nil, fmt.Errorf("harden: there is no step %q to be left out: want one of %s", name, strings.Join(Names(), ", "))
		}
	}
	switch {
	case p.leaveOut(IOFlusher):
	case !sys.executed():
		p.note(IOFlusher, "", sys.execAsIOFlusher())
	default:
		p.noteThreads()
	}
	return p, p.Err()
}

// Names are those of all steps, in their order.
func Names() []string {
	return []string{IOFlusher, OOMScore, MinFree, Boost, Threads, RealTime, Warm, Heap, Lock}
}

// errLeftOut is the failure of a step that was not wanted.
var errLeftOut = errors.New("left out")

// leaveOut reports whether the step is to be left out, and notes it.
func (p *Process) leaveOut(name string) bool {
	if !slices.Contains(p.without, name) {
		return false
	}
	p.note(name, "", remedied{errLeftOut, "ask for it"})
	return true
}

func (p *Process) noteThreads() {
	n, err := p.checkThreads()
	p.note(IOFlusher, fmt.Sprintf("on all %d threads", n), err)
}

// checkThreads returns how many threads there are, and an error if one of them
// is not an I/O flusher.
func (p *Process) checkThreads() (int, error) {
	threads, err := p.sys.threads()
	if err != nil {
		return 0, err
	}
	var without []int
	for _, t := range threads {
		if !t.ioFlusher {
			without = append(without, t.id)
		}
	}
	if len(without) > 0 {
		return 0, fmt.Errorf("%d of %d threads have not got the flag: %v", len(without), len(threads), without)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.threads = len(threads)
	return len(threads), nil
}

// ThreadsMade is how many more threads there are than when the process was sealed:
// each took memory, and the runtime waited for it. It is not known without
// IO_FLUSHER.
func (p *Process) ThreadsMade() (n int, known bool) {
	all, err := p.sys.threads()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.threads == 0 {
		return 0, false
	}
	return max(len(all)-p.threads, 0), true
}

// note records an outcome.
func (p *Process) note(name, did string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteLocked(name, did, err)
}

// Note adds a step that somebody else has taken for the same purpose, or has failed
// to take: did is what was done, or costs what the machine is exposed to without
// it, and remedy what to do about it.
func (p *Process) Note(name, did string, err error, costs, remedy string) {
	s := Step{Name: name, Did: did}
	if err != nil {
		s = Step{Name: name, Failure: err.Error(), Costs: costs, Remedy: remedy, err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, s)
}

func (p *Process) noteLocked(name, did string, err error) {
	s := Step{Name: name, Did: did, err: err}
	if err != nil {
		s.Did, s.Failure = "", err.Error()
		s.Costs, s.Remedy = consequences[name].costs, consequences[name].remedy
		var r remedied
		if errors.As(err, &r) {
			s.Remedy = r.remedy
		}
	}
	for i := range p.steps {
		if p.steps[i].Name == name { // a thread later than the first, or a check again
			if p.steps[i].Failure == "" {
				p.steps[i] = s
			}
			return
		}
	}
	p.steps = append(p.steps, s)
}

// remedied is an error that knows better than the table what to do.
type remedied struct {
	error
	remedy string
}

func (r remedied) Unwrap() error { return r.error }

// Steps are the outcomes so far.
func (p *Process) Steps() Steps {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(Steps(nil), p.steps...)
}

// oomNever is the score of a process that the kernel never kills for memory.
const oomNever = -1000

// Prepare takes the steps that need nothing of the disk.
func (p *Process) Prepare() error {
	if !p.leaveOut(OOMScore) {
		p.note(OOMScore, fmt.Sprintf("oom_score_adj %d", oomNever), p.sys.setOOMScore(oomNever))
	}
	if !p.leaveOut(MinFree) {
		did, err := p.raiseMinFree()
		p.note(MinFree, did, err)
	}
	if !p.leaveOut(Boost) {
		did, err := p.endBoost()
		p.note(Boost, did, err)
	}
	if !p.leaveOut(Threads) {
		p.sys.allowRunning(running)
		p.note(Threads, fmt.Sprintf("%d made ahead", spareThreads), p.sys.makeThreads(spareThreads))
	}
	return p.Err()
}

// spareThreads is how many threads the runtime has before there is no memory for
// another: it starts one whenever a goroutine stays in a system call while others
// could run, and never ends them. It needs one for each processor of its own
// (running), its monitor and the thread that makes threads for threads which are a
// goroutine's own; one for each I/O thread, four with the kernel's NBD client; and
// one for each system call that lasts, as of the early warning and of status. With 8
// it started a thirteenth in a guest whose memory was used up: the thread that
// made it waited in clone(2) for pages that only the disk could free, and with it
// the runtime, which had counted on that thread to find the next thing to do.
const spareThreads = 16

// running is how many goroutines can run at once even on a machine with one
// processor. An I/O thread that comes back from a system call needs one of the
// runtime's processors. If there were one only, an ordinary thread could have it
// while the kernel does not let that thread run, and the real-time one would wait
// for it.
const running = 4

// raiseMinFree: the kernel keeps vm.min_free_kbytes for who may not wait, as a
// driver that fills its receive ring. With 16384 seven of seven runs of a
// 384 MiB guest survived; a smaller machine gets the same share, 1/24, and
// at least 4 MiB, below which a ring at MTU 9000 is not refilled once.
//
// With the 1,004 KiB that Linux keeps in 128 MiB, its NBD client took so much of them
// for what it sends that virtio_net once found none to receive into. It asks anew then
// as one who can wait, with receiving switched off until it has got it: for ever, as
// what it waits for is answers of the disk.
func (p *Process) raiseMinFree() (string, error) {
	total, err := p.sys.total()
	if err != nil {
		return "", err
	}
	want := int(min(max(total/24, 4<<20), 16<<20) >> 10)
	now, err := p.hold(minFree, want, true)
	switch {
	case err != nil && now > 0:
		return "", remedied{
			fmt.Errorf("%v is %d: want at least %d here: %w", minFree, now, want, err),
			fmt.Sprintf("sysctl -w %v=%d", minFree, want),
		}
	case err != nil:
		return "", err
	case now < want:
		return fmt.Sprintf("%v is %d until the disk is detached, and %d then", minFree, want, now), nil
	}
	return fmt.Sprintf("%v is %d, %d are enough here", minFree, now, want), nil
}

// endBoost keeps the kernel from keeping more memory free than usual. When it has
// to break a block of pages up, which with little memory is soon, it raises what
// it keeps in that zone by up to 150 % of the high mark and at least a block of
// 2 MiB, until kswapd has reclaimed as much. In a 128 MiB guest, where 0.9 MiB are
// kept, it was 4.9 MiB then, with 0.9 MiB free: kswapd waited for writes, and the
// threads that had to send them waited for memory that only kswapd could give.
func (p *Process) endBoost() (string, error) {
	was, err := p.hold(boostFactor, 0, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("this kernel has no %v", boostFactor), nil // before Linux 5.0
	case err != nil:
		return "", err
	case was == 0:
		return fmt.Sprintf("%v is 0", boostFactor), nil
	}
	return fmt.Sprintf("%v is 0 until the disk is detached, and %d then", boostFactor, was), nil
}

// hold sets a setting of the machine, unless it will do, and returns what it was, also
// with an error if that is known.
func (p *Process) hold(s sysctl, value int, atLeast bool) (was int, err error) {
	if was, err = p.sys.sysctl(s); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := hold{wanted: true, value: value, atLeast: atLeast, was: was}
	if h.changed = !h.holds(was); h.changed {
		if err := p.sys.setSysctl(s, value); err != nil {
			return was, err
		}
	}
	p.held[s] = h
	return was, nil
}

// keepHeld sets again what another process has put back: it had found it before we
// looked, and has left.
func (p *Process) keepHeld() {
	for s := range sysctls {
		p.mu.Lock()
		h := p.held[s]
		p.mu.Unlock()
		if !h.wanted {
			continue
		}
		if now, err := p.sys.sysctl(s); err != nil || h.holds(now) {
			continue
		}
		switch s {
		case minFree:
			did, err := p.raiseMinFree()
			p.note(MinFree, did, err)
		case boostFactor:
			did, err := p.endBoost()
			p.note(Boost, did, err)
		}
	}
}

// Close gives back what is the machine's: it is to be called when nothing depends
// on the disk any more. A setting that somebody else has changed meanwhile stays as it is.
func (p *Process) Close() error {
	p.mu.Lock()
	held := p.held
	p.held = [sysctls]hold{}
	p.mu.Unlock()
	var errs []error
	for s, h := range held {
		if !h.changed {
			continue
		}
		now, err := p.sys.sysctl(sysctl(s))
		if err == nil && now == h.value {
			err = p.sys.setSysctl(sysctl(s), h.was)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// OnThread is called on every thread that does I/O for the disk, as it starts:
// one that is scheduled in real time, and therefore may use half of the memory
// that is left when everybody else has to wait.
func (p *Process) OnThread() {
	if p.leaveOut(RealTime) {
		return
	}
	bad := p.sys.setRealTime()
	p.mu.Lock()
	defer p.mu.Unlock()
	if bad == nil {
		p.realTime++
	}
	p.noteLocked(RealTime, fmt.Sprintf("SCHED_RR, priority 1, on %d threads", p.realTime), bad)
}

// Err is nil unless Strict, and then the failures of all steps so far, those of
// I/O threads included.
func (p *Process) Err() error {
	if !p.strict {
		return nil
	}
	var errs []error
	for _, s := range p.Steps().Failed() {
		if !errors.Is(s.err, errLeftOut) {
			errs = append(errs, s.Err())
		}
	}
	return errors.Join(errs...)
}

// heapSpare is what the heap has left when the collector is switched off: for
// the answers to `aoe stat` and the like, until Housekeep collects.
const heapSpare = 4 << 20

// Seal ends start-up. rehearse uses every path once: what is made at the first
// use is made then. The rest is for the pages to stay: the heap gets room and
// is collected, the collector ends, all pages are locked.
func (p *Process) Seal(rehearse func() error) error {
	if !p.leaveOut(Warm) {
		p.note(Warm, "reads, writes, flushes, retransmissions", rehearse())
	}
	if !p.leaveOut(Heap) {
		p.sys.collect(heapSpare)
		p.mu.Lock()
		p.swept = p.sys.heapAllocated()
		p.mu.Unlock()
		p.note(Heap, fmt.Sprintf("%d MiB to spare, collected, collector off", heapSpare>>20), nil)
	}
	if !p.leaveOut(Lock) {
		locked, sparse, err := p.lockMemory()
		p.note(Lock, fmt.Sprintf("%.1f MiB, and %.1f MiB that were never touched as soon as they are", mib(locked), mib(sparse)), err)
	}
	if p.Steps().Done(IOFlusher) {
		p.noteThreads() // those that were made since must have it, too
	}
	return p.Err()
}

func mib(n uintptr) float64 { return float64(n) / (1 << 20) }

// Housekeep collects the heap when half of what it had to spare is used up, and
// looks after what others may have changed. It is to be called when memory is plentiful, and by a goroutine that does no I/O.
func (p *Process) Housekeep() (collected bool) {
	p.keepHeld()
	if slices.Contains(p.without, Heap) {
		return false // the collector is on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.sys.heapAllocated()
	if now-p.swept < heapSpare/2 {
		return false
	}
	p.sys.collect(0)
	p.swept = now
	return true
}
