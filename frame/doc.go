// Package frame is the AoE wire format: what stands in an Ethernet frame with
// EtherType 0x88A2, as specified by AoEr11 (Hopkins and Coile, 2009).
//
// # Usage
//
// A frame is parsed once, at the edge, into values: [Parse] gives the [Header]
// and the argument bytes, and [ParseATA], [ParseConfig], [ParseMask] or
// [ParseReserve] the argument. A frame is encoded by appending: Header.Append,
// then the argument's Append, then what it counts, then [Pad].
//
// An initiator makes a request in front of data that are in its buffer already.
// A target makes the request its reply, in the buffer that it arrived in: [Reply]
// or [ReplyError], then [PutResult] for ATA, or for the other commands the
// argument's Append on b[:HeaderLen].
//
// [Describe] is what a frame says in one line, for people.
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
// config string, lists of MACs), which alias the frame, are valid as long as it
// is, and have no capacity beyond their length.
//
// Nothing on the data path allocates: no parser and no refusal, and no Append,
// Reply or Pad whose buffer has the capacity. What is for people allocates:
// String methods, Describe, ParseAddr, ParseMAC, and ParseIdentify its texts.
//
// Encoding what cannot be put on the wire panics: an LBA or a config string that
// is too long was accepted somewhere it should not have been.
//
// The package is pure: no network, no clock, no files, no log.
package frame
