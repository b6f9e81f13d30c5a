package target

import (
	"crypto/sha256"
	"encoding/hex"

	"aoe/frame"
)

// What IDENTIFY says of a disk that is not told otherwise.
const (
	defaultModel = "AoE disk"
	firmware     = "1"
)

// firmwareVersion is what a config reply says.
const firmwareVersion = 1

// serialOf derives a serial from what a store is, so that two servers of one
// store agree and initiators can tell it from another (H15): 80 bits of a hash,
// as 20 hexadecimal digits. A store that is nobody is known by its address.
func serialOf(identity string, addr frame.Addr) string {
	if identity == "" {
		return addr.String()
	}
	sum := sha256.Sum256([]byte("aoe serial\n" + identity))
	return hex.EncodeToString(sum[:frame.SerialLen/2])
}
