// Package frame is the AoE wire format: what stands in an Ethernet frame with
// EtherType 0x88A2, as specified by AoEr11 (Hopkins and Coile, 2009).
//
// # Usage
//
// A frame is parsed once, at the edge, into values: [Parse] gives the [Header]
// and the argument bytes, and [ParseATA], [ParseConfig], [ParseMask] or
// [ParseReserve] the argument. A frame is encoded by appending: Header.Append,
// then the argument's Append, then [Pad]. A target builds its reply on the
// request itself, in place, with [Reply] and the Put methods.
//
// The vocabulary (commands, errors, sub-commands and their names) is that of
// github.com/mdlayher/aoe, the EtherType that of github.com/mdlayher/ethernet;
// there is no second enumeration here. The codec is our own because the data
// path may not allocate.
//
// # Lengths
//
// All lengths come from fields, never from the frame's length: a frame may be
// padded (Ethernet's minimum is 60 bytes without the FCS) or unpadded (veth and
// tap do not pad), so trailing bytes are ignored and short frames accepted as
// long as every field that was promised is there.
//
// # Ownership
//
// Values parsed from a frame are copies, except for byte slices (ATA data, a
// config string, lists of MACs), which alias the frame and are valid as long as
// it is. Nothing here allocates, also not on error paths, except the String
// methods and the parsers of human-readable text.
//
// The package is pure: no network, no clock, no files, no log.
package frame
