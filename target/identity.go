package target

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"aoe/frame"
	"aoe/target/store"
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

// verifierOf is what a store is in as long as it forgets nothing (H17): it follows
// from the cache that holds what was not synced. Where that is gone with us, it
// follows from who we are.
func verifierOf(i store.Info, us frame.Instance) frame.Verifier {
	cache := i.Cache
	if cache == "" {
		cache = "instance " + us.String()
	}
	sum := sha256.Sum256([]byte("aoe verifier\n" + cache + "\n" + i.Identity))
	return frame.NewVerifier(binary.LittleEndian.Uint64(sum[:]))
}
