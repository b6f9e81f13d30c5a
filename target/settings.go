package target

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// Settings are what can be set of a disk over the wire.
type Settings struct {
	ConfigString []byte      `json:"configString"`
	Mask         []frame.MAC `json:"mask"`    // who may talk to the disk; empty is everyone
	Reserve      []frame.MAC `json:"reserve"` // who may use it; empty is everyone
	// Given is what the disk was added with.
	Given *Given `json:"given,omitempty"`
}

// Given is what a disk's owner says of its settings when the disk is added. It
// is kept beside the settings. When it is the same at the next start, what was
// set meanwhile over the wire or otherwise holds; what of it the owner has
// changed, he has said later, and that holds.
type Given struct {
	ConfigString []byte      `json:"configString"`
	Mask         []frame.MAC `json:"mask"`
}

// given is s under a new word of the disk's owner.
func (s *Settings) given(g Given) *Settings {
	var last Given // nothing, where nothing is known
	if s.Given != nil {
		last = *s.Given
	}
	next := s.clone()
	next.Given = &Given{bytes.Clone(g.ConfigString), slices.Clone(g.Mask)}
	if !bytes.Equal(last.ConfigString, g.ConfigString) {
		next.ConfigString = bytes.Clone(g.ConfigString)
	}
	if !slices.Equal(last.Mask, g.Mask) {
		next.Mask = slices.Clone(g.Mask)
	}
	return next
}

// The longest lists, so that the answer that holds one fits a frame on every
// Ethernet, that is with an MTU of 1500.
const (
	MaxMask    = (1500 + frame.EthernetLen - frame.MaskDirectivesOffset) / frame.MaskDirectiveLen
	MaxReserve = (1500 + frame.EthernetLen - frame.ReserveMACsOffset) / 6
)

// A Keeper keeps the settings of disks through a restart. Its methods may block
// and are called by one goroutine per disk at a time.
type Keeper interface {
	// Load returns what was kept for the disk, or ErrNothingKept.
	Load(frame.Addr) (Settings, error)
	// Keep returns when s would survive a crash: the edit is answered, and
	// holds, only afterwards (H24). It borrows s.
	Keep(addr frame.Addr, s Settings) error
}

// ErrNothingKept is returned by a Keeper that knows nothing of a disk.
var ErrNothingKept = errors.New("target: no settings kept")

func (s Settings) validate() error {
	switch {
	case len(s.ConfigString) > frame.MaxConfigString:
		return fmt.Errorf("config string of %d bytes: at most %d", len(s.ConfigString), frame.MaxConfigString)
	case len(s.Mask) > MaxMask:
		return fmt.Errorf("mask of %d MACs: at most %d", len(s.Mask), MaxMask)
	case len(s.Reserve) > MaxReserve:
		return fmt.Errorf("reserve list of %d MACs: at most %d", len(s.Reserve), MaxReserve)
	}
	return nil
}

func (s Settings) clone() *Settings {
	return &Settings{bytes.Clone(s.ConfigString), slices.Clone(s.Mask), slices.Clone(s.Reserve), s.Given}
}

// masks reports whether the disk is not there for src.
func (s *Settings) masks(src frame.MAC) bool {
	return len(s.Mask) > 0 && !slices.Contains(s.Mask, src)
}

// reserves reports whether the disk is reserved for others than src.
func (s *Settings) reserves(src frame.MAC) bool {
	return len(s.Reserve) > 0 && !slices.Contains(s.Reserve, src)
}

// setConfig is sub-commands 3 and 4 of query config (AoEr11, section 3.2). Set
// is for a disk whose string is empty, or the same already; force set is for
// all. It returns the settings afterwards.
func (s *Settings) setConfig(c frame.Config) (*Settings, aoe.Error) {
	if bytes.Equal(s.ConfigString, c.String) {
		return s, 0
	}
	if c.Sub == aoe.ConfigCommandSet && len(s.ConfigString) > 0 {
		return s, aoe.ErrorConfigStringPresent
	}
	next := s.clone()
	next.ConfigString = bytes.Clone(c.String)
	return next, 0
}

// editMask carries out directives in order. On an error it stops, and tells
// which one it was at; what came before it holds (AoEr11, section 3.3). Adding who is
// there and deleting who is not is no error, so that a copy does no harm.
func (s *Settings) editMask(m frame.Mask) (next *Settings, merr aoe.MACMaskError, at int) {
	next = s.clone()
	for i := range m.Len() {
		e := m.At(i)
		there := slices.Index(next.Mask, e.MAC)
		switch e.Directive {
		case aoe.DirectiveCommandNone:
		case aoe.DirectiveCommandAdd:
			if there >= 0 {
				continue
			}
			if len(next.Mask) == MaxMask {
				return next, aoe.MACMaskErrorListFull, i
			}
			next.Mask = append(next.Mask, e.MAC)
		case aoe.DirectiveCommandDelete:
			if there >= 0 {
				next.Mask = slices.Delete(next.Mask, there, there+1)
			}
		default:
			return next, aoe.MACMaskErrorBadCommand, i
		}
	}
	return next, 0, 0
}

// setReserve is sub-commands 1 and 2 of reserve/release: set, which only those
// on the list may if there is one, and force set. No MACs release the disk.
func (s *Settings) setReserve(src frame.MAC, r frame.Reserve) (*Settings, aoe.Error) {
	if r.Sub == aoe.ReserveReleaseCommandSet && s.reserves(src) {
		return s, aoe.ErrorTargetIsReserved
	}
	if r.Len() > MaxReserve {
		return s, aoe.ErrorBadArgumentParameter
	}
	next := s.clone()
	next.Reserve = make([]frame.MAC, r.Len())
	for i := range next.Reserve {
		next.Reserve[i] = r.At(i)
	}
	return next, 0
}
