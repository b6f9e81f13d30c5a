package frame

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// A Verifier names the cache in which a disk has what it has acknowledged and not
// synced (H17). A disk that shows the same one as before has forgotten nothing in
// between; after a power failure it shows another. A flush that was answered
// with the verifier with which a write was acknowledged has made that durable.
// The idea is that of NFS version 3 (RFC 1813, section 3.3.7).
//
// A verifier has 48 bits, of which the highest is set, so that it can stand in the
// LBA registers of an answer without being taken for an address: of those to
// WRITE and DATA SET MANAGEMENT when what they acknowledge may be forgotten, and
// of all to FLUSH CACHE, where ATA has nothing to say in them ("N/A", ATA8-ACS).
// Whoever does not know of it does not look there. Zero is no verifier.
type Verifier uint64

const bitVerifier = 1 << 47

// NewVerifier makes a verifier of the low 47 bits of n.
func NewVerifier(n uint64) Verifier { return Verifier(n&(bitVerifier-1) | bitVerifier) }

// verifier is n, of 48 bits, if it is one, and zero if not.
func verifier(n uint64) Verifier {
	if n&bitVerifier == 0 {
		return 0
	}
	return Verifier(n)
}

// Verifier is that in the LBA registers of an answer; zero if there is none.
func (a ATA) Verifier() Verifier { return verifier(a.LBA & mask48) }

// PutVerifier puts v into the LBA registers of the encoded ATA answer b.
func PutVerifier(b []byte, v Verifier) { putVerifier(b[HeaderLen+ataLBA:ATADataOffset], v) }

// putVerifier puts v into the first 6 bytes of b, the least significant first.
func putVerifier(b []byte, v Verifier) {
	binary.LittleEndian.PutUint32(b, uint32(v))
	binary.LittleEndian.PutUint16(b[4:], uint16(v>>32))
}

// String is v in hexadecimal.
func (v Verifier) String() string { return fmt.Sprintf("%012x", uint64(v)) }

// MarshalText implements encoding.TextMarshaler, as that of an Instance.
func (v Verifier) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Verifier) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 48)
	if err != nil {
		return fmt.Errorf("frame: %q is not the verifier of a disk: want 12 hexadecimal digits", b)
	}
	*v = Verifier(n)
	return nil
}
