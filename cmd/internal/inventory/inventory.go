// Package inventory knows which disks and interfaces an aoe serve serves, who
// said so (the command line, the file of --config, or the control socket), and
// how to get from there to what a file says now without disturbing what stays.
//
// Its methods may be called by any number of goroutines. Changes are made one at
// a time.
package inventory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"aoe/cmd/internal/conf"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
)

// An Origin is who said that something is to be served.
type Origin string

// The origins.
const (
	CommandLine Origin = "command line" // for as long as the process runs
	File        Origin = "file"         // until the file says otherwise
	Control     Origin = "control"      // until the control socket or the file says otherwise
)

// An Entry is a disk that is served, as it was added.
type Entry struct {
	conf.Disk
	Origin Origin `json:"origin"`
}

// An Inventory is what a server serves.
type Inventory struct {
	server   *target.Server
	openLink func(name string) (link.Link, error)

	mu    sync.Mutex // held while something is changed, which may wait for stores
	links map[string]wire

	look  sync.Mutex // guards disks for those who only look
	disks map[frame.Addr]Entry
}

// A wire is an interface that is served.
type wire struct {
	link   link.Link
	origin Origin
}

// New is an empty inventory of s, whose disks and links are added and removed by
// nobody else. openLink opens an interface.
func New(s *target.Server, openLink func(name string) (link.Link, error)) *Inventory {
	return &Inventory{server: s, openLink: openLink, links: map[string]wire{}, disks: map[frame.Addr]Entry{}}
}

// Entries are the disks, in the order of their addresses.
func (v *Inventory) Entries() []Entry {
	v.look.Lock()
	defer v.look.Unlock()
	return slices.SortedFunc(maps.Values(v.disks), func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Addr.Shelf, b.Addr.Shelf), cmp.Compare(a.Addr.Slot, b.Addr.Slot))
	})
}

func (v *Inventory) entry(a frame.Addr) (Entry, bool) {
	v.look.Lock()
	defer v.look.Unlock()
	e, ok := v.disks[a]
	return e, ok
}

func (v *Inventory) setEntry(e Entry) {
	v.look.Lock()
	defer v.look.Unlock()
	v.disks[e.Addr] = e
}

func (v *Inventory) forget(a frame.Addr) {
	v.look.Lock()
	defer v.look.Unlock()
	delete(v.disks, a)
}

// AddDisk opens d and serves it.
func (v *Inventory) AddDisk(d conf.Disk, from Origin) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.addDiskLocked(d, from)
}

// A takenError is an os.ErrExist.
type takenError struct {
	addr frame.Addr
	by   string
}

func (e takenError) Error() string        { return fmt.Sprintf("%s is served already, from %s", e.addr, e.by) }
func (e takenError) Is(target error) bool { return target == os.ErrExist }

func (v *Inventory) addDiskLocked(d conf.Disk, from Origin) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if e, ok := v.entry(d.Addr); ok {
		return takenError{d.Addr, e.Path}
	}
	st, err := d.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", d.Addr, err)
	}
	if err := v.server.AddDisk(d.Served(st)); err != nil {
		return closing(err, st)
	}
	v.setEntry(Entry{d, from})
	return nil
}

// RemoveDisk ends a disk, and returns when what was under way is answered and its
// store closed, with the error of the last sync; or when ctx is done: then the
// disk is not served any more, but its store still busy.
func (v *Inventory) RemoveDisk(ctx context.Context, a frame.Addr) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.removeDiskLocked(ctx, a)
}

func (v *Inventory) removeDiskLocked(ctx context.Context, a frame.Addr) error {
	if _, ok := v.entry(a); !ok {
		return fmt.Errorf("%s: %w", a, target.ErrNoDisk)
	}
	v.forget(a)
	closed := make(chan error, 1)
	go func() { closed <- v.server.RemoveDisk(a) }() // ends with the store's last call
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s is no longer served, but its store is still busy: %w", a, ctx.Err())
	}
}

// Resize serves so many bytes of a disk from now on, or with zero all there is,
// until the disk is served anew or the file says another length than before.
func (v *Inventory) Resize(a frame.Addr, length int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.server.Resize(a, length)
}

// AddInterface opens an interface and serves all disks on it. One that is served
// already is left alone.
func (v *Inventory) AddInterface(name string, from Origin) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.links[name]; ok {
		return nil
	}
	return v.addInterfaceLocked(name, from)
}

func (v *Inventory) addInterfaceLocked(name string, from Origin) error {
	l, err := v.openLink(name)
	if err != nil {
		return err
	}
	if err := v.server.AddLink(l); err != nil {
		return closing(err, l)
	}
	v.links[name] = wire{l, from}
	return nil
}

func (v *Inventory) removeInterfaceLocked(name string) error {
	l := v.links[name].link
	delete(v.links, name)
	if err := v.server.RemoveLink(l); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
