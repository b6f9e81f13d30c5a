package guard

import (
	"errors"
	"fmt"
	"sync"

	"aoe/frame"

	"github.com/cilium/ebpf"
	"github.com/mdlayher/aoe"
	"golang.org/x/sys/unix"
)

// license of the programs. None of the kernel's functions that they call asks
// for another.
const license = "MIT"

// A Table is the outstanding tags of one disk, in memory that the kernel looks
// into, and the socket filter that does.
type Table struct {
	addr     frame.Addr
	slots    int
	words    words
	memory   *ebpf.Map // one element: the words
	counters *ebpf.Map // by verdict and processor
	filter   *ebpf.Program

	mu     sync.Mutex // of what follows, for the methods that are not the loop's
	closed bool
	last   FilterStats
}

// NewTable makes the table and the filter of the disk at addr, whose engine has
// that many slots. Until SetPaths is called the filter passes every answer of the
// disk at addr, for whoever looks for it.
func NewTable(addr frame.Addr, slots int) (_ *Table, err error) {
	if slots < 8 || slots > 1<<16 || slots&(slots-1) != 0 {
		return nil, fmt.Errorf("guard: %d slots: want a power of two from 8 to 65536", slots)
	}
	t := &Table{addr: addr, slots: slots}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.release())
		}
	}()
	if t.memory, err = newShared("aoe_tags", wordTags+slots); err != nil {
		return nil, fmt.Errorf("guard: the table of tags: %w", needs(err))
	}
	if t.words, err = mapWords(t.memory.FD(), wordTags+slots); err != nil {
		return nil, fmt.Errorf("guard: mapping the table of tags: %w", err)
	}
	t.words.store(wordAddr, packAddr(addr))
	if t.counters, err = newCounters("aoe_filter", int(filterVerdicts)); err != nil {
		return nil, fmt.Errorf("guard: the filter's counters: %w", needs(err))
	}
	t.filter, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "aoe_filter", Type: ebpf.SocketFilter, License: license,
		Instructions: filterProgram(t.memory.FD(), t.counters.FD(), slots),
	})
	if err != nil {
		return nil, fmt.Errorf("guard: the socket filter: %w", needs(err))
	}
	return t, nil
}

// newShared makes an array of one element, n words, that can be mapped.
func newShared(name string, n int) (*ebpf.Map, error) {
	return ebpf.NewMap(sharedSpec(name, n))
}

func sharedSpec(name string, n int) *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(8 * n), MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE,
	}
}

// newCounters makes an array of n counters for each processor.
func newCounters(name string, n int) (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: uint32(n)})
}

// read sums each of the first n counters over the processors. It asks the kernel
// for memory, and can fail for want of it.
func read(counters *ebpf.Map, n verdict) ([]uint64, error) {
	sums := make([]uint64, n)
	for v := range sums {
		var each []uint64
		if err := counters.Lookup(uint32(v), &each); err != nil {
			return nil, err
		}
		for _, c := range each {
			sums[v] += c
		}
	}
	return sums, nil
}

// needs adds to a lack of permission what to do about it.
func needs(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("needs CAP_BPF and CAP_NET_ADMIN: run as root, or setcap cap_bpf,cap_net_admin,cap_net_raw+ep aoe: %w", err)
	}
	return err
}

// FilterFD is the descriptor of the filter, for ring.Config. It is valid until
// Close.
func (t *Table) FilterFD() int { return t.filter.FD() }

// Slots implements engine.Tags.
func (t *Table) Slots() int { return t.slots }

// Ask prepares the table for somebody who looks for the disk: until SetPaths all
// its answers pass.
func (t *Table) Ask() { t.words.store(wordMode, modeAsking) }

// SetPaths implements engine.Tags. The filter knows one port of the target: where
// there are several, all answers of the disk pass, and the engine sorts them.
func (t *Table) SetPaths(local frame.MAC, remotes []frame.MAC) {
	if len(remotes) != 1 {
		t.Ask()
		return
	}
	t.words.store(wordLocal, packDst(local))
	t.words.store(wordRemote, packSrc(remotes[0]))
	t.words.store(wordMode, modeServing)
}

// SetTags implements engine.Tags.
func (t *Table) SetTags(slot int32, first, count uint32, command aoe.Command) {
	t.words.store(wordTags+int(slot), packTags(first, count, command == commandQuery))
}

// Stats are the filter's counters, as they were last read if the kernel has no
// memory to tell.
func (t *Table) Stats() FilterStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		if n, err := read(t.counters, filterVerdicts); err == nil {
			t.last = filterStats(n)
		}
	}
	return t.last
}

// Close gives everything back. A link that has the filter keeps it, with the
// tags as they were; it should be closed before.
func (t *Table) Close() error {
	t.Stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.release()
}

// release closes what there is.
func (t *Table) release() error {
	errs := []error{t.words.unmap()}
	for _, m := range []*ebpf.Map{t.memory, t.counters} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	if t.filter != nil {
		errs = append(errs, t.filter.Close())
	}
	return errors.Join(errs...)
}
