package frame

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mdlayher/aoe"
)

// A MAC is an Ethernet address: a value, comparable, usable as a map key.
type MAC [6]byte

// Broadcast is the address of every station on the segment.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// IsMulticast reports whether m names a group of stations: the group bit is
// the least significant bit of the first octet (IEEE 802.3, 3.2.3).
// [Broadcast] is a group too.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// String formats m as "02:00:00:00:00:01".
func (m MAC) String() string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, o := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hex[o>>4], hex[o&15])
	}
	return string(b)
}

// MarshalText makes a MAC a readable string in JSON.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// ParseMAC reads six octets in hexadecimal, separated by colons or dashes
// ("02:00:00:00:00:01") or not separated at all ("020000000001", as vblade and
// aoetools print them).
func ParseMAC(s string) (MAC, error) {
	var m MAC
	digits := s
	if len(s) == 17 {
		sep := s[2]
		if sep != ':' && sep != '-' {
			return MAC{}, fmt.Errorf("frame: %q is not a MAC address: want 02:00:00:00:00:01", s)
		}
		digits = strings.ReplaceAll(s, string(sep), "")
	}
	if len(digits) != 12 {
		return MAC{}, fmt.Errorf("frame: %q is not a MAC address: want 02:00:00:00:00:01", s)
	}
	for i := range m {
		v, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return MAC{}, fmt.Errorf("frame: %q is not a MAC address: want 02:00:00:00:00:01", s)
		}
		m[i] = byte(v)
	}
	return m, nil
}

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
func (a Addr) String() string {
	shelf, slot := "*", "*"
	if a.Shelf != AnyShelf {
		shelf = strconv.Itoa(int(a.Shelf))
	}
	if a.Slot != AnySlot {
		slot = strconv.Itoa(int(a.Slot))
	}
	return "e" + shelf + "." + slot
}

// MarshalText makes an Addr a readable string in JSON.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

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
	if !ok || !ok2 {
		return Addr{}, fmt.Errorf("frame: %q: %w", s, ErrAddr)
	}
	a := Anywhere
	if shelf != "*" {
		v, err := strconv.ParseUint(shelf, 10, 16)
		if err != nil || v == uint64(AnyShelf) || !digitsOnly(shelf) {
			return Addr{}, fmt.Errorf("frame: %q: %w", s, ErrAddr)
		}
		a.Shelf = uint16(v)
	}
	if slot != "*" {
		v, err := strconv.ParseUint(slot, 10, 8)
		if err != nil || v == uint64(AnySlot) || !digitsOnly(slot) {
			return Addr{}, fmt.Errorf("frame: %q: %w", s, ErrAddr)
		}
		a.Slot = uint8(v)
	}
	return a, nil
}

// digitsOnly refuses the signs and underscores that strconv could let through.
func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
