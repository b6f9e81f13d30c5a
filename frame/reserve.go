package frame

import "github.com/mdlayher/aoe"

// ReserveMACsOffset is where the list of a command 3 frame starts.
const ReserveMACsOffset = HeaderLen + reserveLen

const (
	reserveLen = 2
	macLen     = 6
	// MaxReserveMACs is the most MACs a frame can count.
	MaxReserveMACs = 255
)

// A Reserve is the argument of command 3, reserve/release
// (AoEr11, section 3.4).
type Reserve struct {
	Sub   aoe.ReserveReleaseCommand
	Count uint8
	macs  []byte
}

// ParseReserve reads a reserve argument. A list longer than the frame is
// refused with ErrShort (H9).
func ParseReserve(arg []byte) (Reserve, error) {
	if len(arg) < reserveLen {
		return Reserve{}, ErrShort
	}
	r := Reserve{Sub: aoe.ReserveReleaseCommand(arg[0]), Count: arg[1]}
	n := int(r.Count) * macLen
	if len(arg) < reserveLen+n {
		return Reserve{}, ErrShort
	}
	r.macs = arg[reserveLen : reserveLen+n : reserveLen+n]
	return r, nil
}

// Len is the number of MACs that At can return.
func (r Reserve) Len() int { return len(r.macs) / macLen }

// At is the i-th MAC of the list.
func (r Reserve) At(i int) MAC { return MAC(r.macs[i*macLen : (i+1)*macLen]) }

// Append encodes the fixed part of r behind b, which must end with a header;
// Count MACs follow with MAC.Append.
func (r Reserve) Append(b []byte) []byte { return append(b, byte(r.Sub), r.Count) }
