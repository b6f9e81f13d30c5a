package frame

import (
	"fmt"
	"strconv"
)

// A MAC is an Ethernet address: a value, comparable, usable as a map key.
type MAC [6]byte

// Broadcast is the address of every station on the segment.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// IsMulticast reports whether m names a group of stations: the group bit is
// the least significant bit of the first octet (IEEE 802.3, 3.2.3).
// [Broadcast] is a group too.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// Append encodes m behind b: an entry of a reserve list, see [Reserve.Append].
func (m MAC) Append(b []byte) []byte { return append(b, m[:]...) }

// String formats m as "02:00:00:00:00:01".
func (m MAC) String() string { return string(m.appendText(make([]byte, 0, macTextLen))) }

// macTextLen is the length of six octets with separators.
const macTextLen = 17

func (m MAC) appendText(b []byte) []byte {
	const hex = "0123456789abcdef"
	for i, o := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hex[o>>4], hex[o&15])
	}
	return b
}

// MarshalText makes a MAC a readable string in JSON.
func (m MAC) MarshalText() ([]byte, error) { return m.appendText(nil), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// ParseMAC reads six octets in hexadecimal, separated by colons or by dashes
// ("02:00:00:00:00:01") or not separated at all ("020000000001", as vblade and
// aoetools print them).
func ParseMAC(s string) (MAC, error) {
	var m MAC
	step := 2
	if len(s) == macTextLen {
		step = 3
	}
	ok := len(s) == macTextLen || len(s) == 2*len(m)
	for i := 0; ok && i < len(m); i++ {
		v, err := strconv.ParseUint(s[step*i:step*i+2], 16, 8)
		m[i] = byte(v)
		ok = err == nil
		if ok && step == 3 && i > 0 {
			sep := s[step*i-1]
			ok = sep == s[2] && (sep == ':' || sep == '-')
		}
	}
	if !ok {
		return MAC{}, fmt.Errorf("frame: %q is not a MAC address: want 02:00:00:00:00:01", s)
	}
	return m, nil
}
