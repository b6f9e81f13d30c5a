package target

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// What follows is for the owner of the server, who needs no permission to edit,
// in the words of the wire. An edit is kept before it returns, if there is a
// Keeper (H24). All of it fails with an error wrapping ErrNoDisk where there is
// none.

// ErrNoDisk means that no disk has the address. It is an os.ErrNotExist.
var ErrNoDisk error = noDisk{}

type noDisk struct{}

func (noDisk) Error() string        { return "no such disk is served" }
func (noDisk) Is(target error) bool { return target == os.ErrNotExist }

// Why an edit is refused.
var (
	// ErrConfigStringPresent: another config string is set already; force it.
	ErrConfigStringPresent = errors.New("config string present")
	// ErrReserved: the disk is reserved for others; force it, or release it.
	ErrReserved = errors.New("target is reserved")
	// ErrListFull: there is no more room in the mask.
	ErrListFull = errors.New("the mask list is full")
)

// WireEdits is who may edit a disk's config string, mask and reserve list over
// the wire. Reading them is everybody's who is not masked.
type WireEdits uint8

const (
	// EditsListed: who is on the disk's mask. Nobody, as long as that is empty.
	EditsListed WireEdits = 1 + iota
	// EditsNone: nobody.
	EditsNone
	// EditsAny: who can send a frame, and is not masked, as AoEr11 has it.
	EditsAny
)

var wireEdits = map[WireEdits]string{EditsListed: "listed", EditsNone: "none", EditsAny: "any"}

func (w WireEdits) String() string {
	if s := wireEdits[w]; s != "" {
		return s
	}
	return fmt.Sprintf("WireEdits(%d)", uint8(w))
}

// MarshalText makes a WireEdits a readable string in JSON.
func (w WireEdits) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads none, listed or any.
func (w *WireEdits) UnmarshalText(text []byte) error {
	for v, s := range wireEdits {
		if s == string(text) {
			*w = v
			return nil
		}
	}
	return fmt.Errorf("wire-edits %q: want none, listed or any", text)
}

// mayEdit reports whether src may edit the disk over the wire. A MAC address is
// no secret: it keeps out who errs, not who lies (H22).
func (d *disk) mayEdit(src frame.MAC) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.edits {
	case EditsAny:
		return true
	case EditsListed:
		return len(d.settings.Mask) > 0 && !d.settings.masks(src)
	}
	return false
}

func (s *Server) diskAt(a frame.Addr) (*disk, error) {
	if d := s.disk(a); d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("target: %s: %w", a, ErrNoDisk)
}

// amend is disk.amend for an edit that may be refused.
func (s *Server) amend(a frame.Addr, f func(*Settings) (*Settings, error)) (Settings, error) {
	d, err := s.diskAt(a)
	if err != nil {
		return Settings{}, err
	}
	var refused error
	set, err := d.amend(func(cur *Settings) (next *Settings) {
		next, refused = f(cur)
		return next
	})
	if err := errors.Join(refused, err); err != nil {
		return *set.clone(), fmt.Errorf("target: %s: %w", a, err)
	}
	return *set.clone(), nil
}

// SettingsOf are the settings of the disk at a.
func (s *Server) SettingsOf(a frame.Addr) (Settings, error) {
	d, err := s.diskAt(a)
	if err != nil {
		return Settings{}, err
	}
	return *d.settingsNow().clone(), nil
}

// SetConfigString is set, or with force, force set. The settings are returned
// also with ErrConfigStringPresent.
func (s *Server) SetConfigString(a frame.Addr, text []byte, force bool) (Settings, error) {
	c := frame.Config{Sub: aoe.ConfigCommandSet, String: text}
	if force {
		c.Sub = aoe.ConfigCommandForceSet
	}
	if err := (Settings{ConfigString: text}).validate(); err != nil {
		return Settings{}, fmt.Errorf("target: %s: %w", a, err)
	}
	return s.amend(a, func(cur *Settings) (*Settings, error) {
		next, code := cur.setConfig(c)
		if code != 0 {
			return cur, ErrConfigStringPresent
		}
		return next, nil
	})
}

// EditMask adds MACs to the mask, and deletes others from it, in the order
// given. All of it is done or nothing.
func (s *Server) EditMask(a frame.Addr, edits []frame.MaskDirective) (Settings, error) {
	return s.amend(a, func(cur *Settings) (*Settings, error) {
		next := cur
		for _, e := range edits {
			arg := e.Append(frame.Mask{Sub: aoe.MACMaskCommandEdit, Count: 1}.Append(nil))
			m, err := frame.ParseMask(arg)
			if err != nil {
				return cur, err
			}
			var merr aoe.MACMaskError
			switch next, merr, _ = next.editMask(m); merr {
			case 0:
			case aoe.MACMaskErrorListFull:
				return cur, fmt.Errorf("%w: %d MACs", ErrListFull, MaxMask)
			default:
				return cur, fmt.Errorf("mask directive %d of %s: want %d to add or %d to delete",
					e.Directive, e.MAC, aoe.DirectiveCommandAdd, aoe.DirectiveCommandDelete)
			}
		}
		return next, nil
	})
}

// SetReserve is set, which is refused with ErrReserved if the disk is reserved
// for anybody, because the owner is no initiator; or with force, force set. No
// MACs release the disk, which needs no force.
func (s *Server) SetReserve(a frame.Addr, macs []frame.MAC, force bool) (Settings, error) {
	want := Settings{Reserve: macs}
	if err := want.validate(); err != nil {
		return Settings{}, fmt.Errorf("target: %s: %w", a, err)
	}
	return s.amend(a, func(cur *Settings) (*Settings, error) {
		if len(cur.Reserve) > 0 && len(macs) > 0 && !force {
			return cur, fmt.Errorf("%w for %v", ErrReserved, cur.Reserve)
		}
		next := cur.clone()
		next.Reserve = want.clone().Reserve
		return next, nil
	})
}

// Give is a new word of the owner on what the disk is added with.
func (s *Server) Give(a frame.Addr, g Given) error {
	if err := (Settings{ConfigString: g.ConfigString, Mask: g.Mask}).validate(); err != nil {
		return fmt.Errorf("target: %s: %w", a, err)
	}
	_, err := s.amend(a, func(cur *Settings) (*Settings, error) { return cur.given(g), nil })
	return err
}

// SetWireEdits says who may edit the disk's settings over the wire from now on.
// Zero means Config.WireEdits.
func (s *Server) SetWireEdits(a frame.Addr, w WireEdits) error {
	d, err := s.diskAt(a)
	switch {
	case err != nil:
		return err
	case w > EditsAny:
		return fmt.Errorf("target: %s: there is no %s", a, w)
	case w == 0:
		w = s.cfg.WireEdits
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.edits = w
	return nil
}

// Resize serves length bytes of the disk's store from now on, or with zero all
// there is, growing with it, and announces the new size on every link (H16).
func (s *Server) Resize(a frame.Addr, length int64) error {
	d, err := s.diskAt(a)
	if err != nil {
		return err
	}
	if err := (Disk{Addr: a, Store: d.store, Length: length}).Validate(); err != nil {
		return err
	}
	size, err := d.store.Size()
	if err != nil {
		return fmt.Errorf("target: %s: %w", a, err)
	}
	if length > size {
		return tooLong(a, length, size)
	}
	d.mu.Lock()
	d.length = length
	d.mu.Unlock()
	s.look(d)
	return nil
}

func tooLong(a frame.Addr, length, size int64) error {
	return fmt.Errorf("target: %s: %d bytes are more than the %d that its store has: make the store larger first", a, length, size)
}

// servedLocked is how many of the store's sectors are served.
func (d *disk) servedLocked(sectors uint64) uint64 {
	if d.length == 0 {
		return sectors
	}
	return min(sectors, uint64(d.length/frame.SectorSize))
}
