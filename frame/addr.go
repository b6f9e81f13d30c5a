package frame

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mdlayher/aoe"
)

// The wildcards of an address. They are independent of each other: shelf 7 and
// any slot is every disk of shelf 7 (AoEr11, section 2).
const (
	AnyShelf = aoe.BroadcastMajor
	AnySlot  = aoe.BroadcastMinor
)

// An Addr is the address of a disk: its shelf (the specification's "major")
// and its slot ("minor"). It is written e7.3.
type Addr struct {
	Shelf uint16
	Slot  uint8
}

// Anywhere addresses every disk on the segment.
var Anywhere = Addr{AnyShelf, AnySlot}

// IsWildcard reports whether a may name more than one disk.
func (a Addr) IsWildcard() bool { return a.Shelf == AnyShelf || a.Slot == AnySlot }

// Covers reports whether a request to a is also one to the disk at d.
func (a Addr) Covers(d Addr) bool {
	return (a.Shelf == AnyShelf || a.Shelf == d.Shelf) && (a.Slot == AnySlot || a.Slot == d.Slot)
}

// Less orders addresses by shelf, then slot.
func (a Addr) Less(b Addr) bool {
	return a.Shelf < b.Shelf || a.Shelf == b.Shelf && a.Slot < b.Slot
}

// String formats a as "e7.3"; a wildcard is "*".
func (a Addr) String() string { return string(a.appendText(make([]byte, 0, len("e65535.255")))) }

func (a Addr) appendText(b []byte) []byte {
	b = append(b, 'e')
	if a.Shelf == AnyShelf {
		b = append(b, '*')
	} else {
		b = strconv.AppendUint(b, uint64(a.Shelf), 10)
	}
	b = append(b, '.')
	if a.Slot == AnySlot {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(a.Slot), 10)
}

// MarshalText makes an Addr a readable string in JSON.
func (a Addr) MarshalText() ([]byte, error) { return a.appendText(nil), nil }

// UnmarshalText is the inverse of MarshalText.
func (a *Addr) UnmarshalText(b []byte) error {
	v, err := ParseAddr(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// ErrAddr is wrapped by every error of ParseAddr.
var ErrAddr = errors.New("not an AoE address: want eSHELF.SLOT, as in e1.2, with SHELF 0-65534 and SLOT 0-254")

// ParseAddr reads "e7.3", or "e7.*", "e*.3" and "e*.*" for the wildcards. The
// numbers 65535 and 255 are refused: on the wire they are the wildcards, and
// a disk cannot have them.
func ParseAddr(s string) (Addr, error) {
	rest, ok := strings.CutPrefix(s, "e")
	shelf, slot, ok2 := strings.Cut(rest, ".")
	major, ok3 := parsePart(shelf, uint64(AnyShelf))
	minor, ok4 := parsePart(slot, uint64(AnySlot))
	if !ok || !ok2 || !ok3 || !ok4 {
		return Addr{}, fmt.Errorf("frame: %q: %w", s, ErrAddr)
	}
	return Addr{uint16(major), uint8(minor)}, nil
}

// parsePart reads one half of an address: a number below wildcard, or "*".
func parsePart(s string, wildcard uint64) (uint64, bool) {
	if s == "*" {
		return wildcard, true
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return v, err == nil && v < wildcard
}
