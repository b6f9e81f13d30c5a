package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"aoe/cmd/internal/conf"
	"aoe/frame"
)

// closing is err, and what closing c says.
func closing(err error, c io.Closer) error { return errors.Join(err, c.Close()) }

// A plan is what is to be done so that what a file says is served.
type plan struct {
	file conf.File

	newLinks  []string
	deadLinks []string // that failed, and are to be opened again
	oldLinks  []string

	fresh   []conf.Disk // whose stores nobody else has
	late    []conf.Disk // whose stores are free when others are gone
	altered []change    // while they are served
	anew    []change    // by being removed and added
	gone    []frame.Addr
}

// A change is what was said of a disk before, and is now.
type change struct{ from, to conf.Disk }

// Counts tell what Apply has done.
type Counts struct {
	Added, Changed, ServedAnew, Removed int // disks
	LinksAdded, LinksRemoved            int
}

// Apply serves what the file says. Of what it said before, what it says no longer
// is removed; what was added otherwise stays, except that a disk of the control
// socket becomes the file's when the file names it. What is the same is not
// touched; an edit or a resize of the meantime holds until the file says
// something else than before.
//
// Whatever can fail before something is taken away is done first, and undone if
// it fails: then nothing has changed. A disk that can only be changed by serving
// it anew is served as before if that fails.
func (v *Inventory) Apply(ctx context.Context, f conf.File) (Counts, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, err := v.planLocked(f)
	if err != nil {
		return Counts{}, err
	}
	var undo undoing
	if err := v.beginLocked(ctx, p, &undo); err != nil {
		return Counts{}, errors.Join(err, undo.run())
	}
	n := Counts{
		Added: len(p.fresh) + len(p.late), Changed: len(p.altered), ServedAnew: len(p.anew), Removed: len(p.gone),
		LinksAdded: len(p.newLinks), LinksRemoved: len(p.oldLinks),
	}
	return n, v.finishLocked(ctx, p)
}

func (v *Inventory) planLocked(f conf.File) (plan, error) {
	p := plan{file: f}
	if err := v.planLinksLocked(&p); err != nil {
		return p, err
	}
	said := map[frame.Addr]bool{}
	leaving := map[string]bool{} // paths
	var fresh []conf.Disk
	for _, d := range f.Disks {
		said[d.Addr] = true
		e, ok := v.entry(d.Addr)
		switch {
		case !ok:
			fresh = append(fresh, d)
		case e.Origin == CommandLine:
			return p, fmt.Errorf("%s is on the command line: it cannot be in the file too", d.Addr)
		case e.Same(d):
		case e.SameStore(d):
			p.altered = append(p.altered, change{e.Disk, d})
		default:
			p.anew = append(p.anew, change{e.Disk, d})
			leaving[e.Path] = true
		}
	}
	for _, e := range v.Entries() {
		if e.Origin == File && !said[e.Addr] {
			p.gone = append(p.gone, e.Addr)
			leaving[e.Path] = true
		}
	}
	for _, d := range fresh {
		if leaving[d.Path] {
			p.late = append(p.late, d)
		} else {
			p.fresh = append(p.fresh, d)
		}
	}
	return p, nil
}

func (v *Inventory) planLinksLocked(p *plan) error {
	ended := map[string]bool{}
	for _, l := range v.server.Stats().Links {
		ended[l.Name] = l.Ended != ""
	}
	left := 0
	for _, name := range p.file.Interfaces {
		w, ok := v.links[name]
		if !ok {
			p.newLinks = append(p.newLinks, name)
		} else if ended[w.link.State().Name] {
			p.deadLinks = append(p.deadLinks, name)
		}
		left++
	}
	for name, w := range v.links {
		if slices.Contains(p.file.Interfaces, name) {
			continue
		}
		if w.origin == File {
			p.oldLinks = append(p.oldLinks, name)
		} else {
			left++
		}
	}
	slices.Sort(p.oldLinks)
	if left == 0 {
		return errors.New("no interface would be left: name one in the file, as in: interface eth1")
	}
	return nil
}

// undoing is what takes back what was done, the last first.
type undoing []func() error

func (u *undoing) add(f func() error) { *u = append(*u, f) }

func (u undoing) run() error {
	var errs []error
	for _, f := range slices.Backward(u) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// beginLocked does what can be undone. Disks come before interfaces, whose receive
// rings are made for them; edits come last, because undoing one would undo what
// was edited by others in between.
func (v *Inventory) beginLocked(ctx context.Context, p plan, undo *undoing) error {
	for _, d := range p.fresh {
		if err := v.addDiskLocked(d, File); err != nil {
			return err
		}
		undo.add(func() error { return v.removeDiskLocked(ctx, d.Addr) })
	}
	for _, name := range p.deadLinks {
		from := v.links[name].origin
		if err := v.removeInterfaceLocked(name); err != nil {
			return err
		}
		if err := v.addInterfaceLocked(name, from); err != nil {
			return err
		}
	}
	for _, name := range p.newLinks {
		if err := v.addInterfaceLocked(name, File); err != nil {
			return err
		}
		undo.add(func() error { return v.removeInterfaceLocked(name) })
	}
	for _, step := range []func(from, to conf.Disk) error{v.alterLength, v.alterPermission, v.alterGiven} {
		for _, c := range p.altered {
			if err := step(c.from, c.to); err != nil {
				return err
			}
			undo.add(func() error { return step(c.to, c.from) })
		}
	}
	return nil
}

func (v *Inventory) alterLength(from, to conf.Disk) error {
	if from.Length == to.Length {
		return nil
	}
	return v.server.Resize(to.Addr, to.Length)
}

func (v *Inventory) alterPermission(from, to conf.Disk) error {
	if from.WireEdits == to.WireEdits {
		return nil
	}
	return v.server.SetWireEdits(to.Addr, to.WireEdits)
}

func (v *Inventory) alterGiven(from, to conf.Disk) error {
	if slices.Equal(from.Mask, to.Mask) && from.ConfigString == to.ConfigString {
		return nil
	}
	return v.server.Give(to.Addr, to.Given())
}

// finishLocked does what cannot be undone, as much of it as goes.
func (v *Inventory) finishLocked(ctx context.Context, p plan) error {
	var errs []error
	for _, a := range p.gone {
		errs = append(errs, v.removeDiskLocked(ctx, a))
	}
	// Two disks may have exchanged their stores: all go before any comes.
	for _, c := range p.anew {
		errs = append(errs, v.removeDiskLocked(ctx, c.from.Addr))
	}
	for _, c := range p.anew {
		err := v.addDiskLocked(c.to, File)
		if err != nil {
			again := v.addDiskLocked(c.from, File)
			err = errors.Join(fmt.Errorf("%s is served as before: %w", c.to.Addr, err), again)
			if again != nil {
				err = fmt.Errorf("%s is not served any more: %w", c.to.Addr, err)
			}
		}
		errs = append(errs, err)
	}
	for _, d := range p.late {
		errs = append(errs, v.addDiskLocked(d, File))
	}
	for _, name := range p.oldLinks {
		errs = append(errs, v.removeInterfaceLocked(name))
	}
	for _, d := range p.file.Disks {
		v.adopt(d)
	}
	for _, name := range p.file.Interfaces {
		if w := v.links[name]; w.origin == Control {
			v.links[name] = wire{w.link, File}
		}
	}
	return errors.Join(errs...)
}

// adopt makes d, if it is served as the file says, the file's, in the words of the
// file.
func (v *Inventory) adopt(d conf.Disk) {
	if e, ok := v.entry(d.Addr); ok && e.SameStore(d) {
		v.setEntry(Entry{d, File})
	}
}
