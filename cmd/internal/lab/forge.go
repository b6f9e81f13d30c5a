package lab

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// ForeignEtherType is 0x88B5, "Local Experimental Ethertype 1" of IEEE 802: what
// the flood's frames that have nothing to do with AoE carry.
const ForeignEtherType = 0x88b5

// A forger makes the frames of a flood, seeded. It knows everything that can
// be seen on the wire (addresses, MACs), and nothing that cannot (tags).
type forger struct {
	rng       *rand.Rand
	addr      frame.Addr
	initiator frame.MAC
	target    frame.MAC
	payload   int // bytes of data in a full frame
}

// A forgery is one kind of frame: its name for the report, how often it is
// chosen and what makes it.
type forgery struct {
	name   string
	weight int
	make   func(f *forger, b []byte) []byte
}

// againstInitiator are sent from the target's side of the cable. Half are
// foreign, as in the flood that is known to kill the kernel's driver.
func againstInitiator() []forgery {
	return []forgery{
		{"foreign EtherType", 8, (*forger).foreign},
		{"read reply, guessed tag", 4, (*forger).readReply},
		{"error reply, guessed tag", 1, (*forger).errorReply},
		{"config reply, guessed tag", 1, (*forger).configReply},
		{"request", 1, (*forger).request},
		{"cut short", 1, (*forger).cutShort},
	}
}

// againstTarget are sent from the initiator's side, by a stranger. Writes in
// the initiator's name are not among them: AoE has no authentication, and a
// target cannot tell those from real ones.
func againstTarget() []forgery {
	return []forgery{
		{"foreign EtherType", 8, (*forger).foreign},
		{"forced config string", 1, (*forger).setConfig},
		{"mask edit", 1, (*forger).editMask},
		{"reserve", 1, (*forger).setReserve},
		{"write to every disk", 1, (*forger).wildcardWrite},
		{"write longer than its frame", 1, (*forger).shortWrite},
		{"read beyond the end", 1, (*forger).farRead},
		{"reply", 1, (*forger).readReply},
		{"cut short", 1, (*forger).cutShort},
	}
}

// stranger is a station that is neither initiator nor target.
var stranger = frame.MAC{0x02, 0xbd, 0, 0, 0, 0x66}

func choose(rng *rand.Rand, kinds []forgery) int {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := rng.IntN(total)
	for i, k := range kinds {
		if n -= k.weight; n < 0 {
			return i
		}
	}
	panic("lab: weights do not add up")
}

// foreign is 1,000 bytes to everybody, as in the flood that kills.
func (f *forger) foreign(b []byte) []byte {
	b = append(b, frame.Broadcast[:]...)
	b = append(b, stranger[:]...)
	b = binary.BigEndian.AppendUint16(b, ForeignEtherType)
	return f.noise(b, 1000-len(b))
}

func (f *forger) noise(b []byte, n int) []byte {
	for ; n >= 8; n -= 8 {
		b = binary.LittleEndian.AppendUint64(b, f.rng.Uint64())
	}
	for range n {
		b = append(b, byte(f.rng.Uint32()))
	}
	return b
}

// reply begins what the initiator could take for its target's answer, but for
// the tag: that is a guess.
func (f *forger) reply(b []byte, c aoe.Command, flags uint8) []byte {
	return frame.Header{
		Dst: f.initiator, Src: f.target, Addr: f.addr, Command: c,
		Flags: frame.FlagResponse | flags, Tag: f.rng.Uint32() &^ (1 << 31),
	}.Append(b)
}

func (f *forger) readReply(b []byte) []byte {
	b = f.reply(b, aoe.CommandIssueATACommand, 0)
	b = frame.ATA{Op: frame.StatusDRDY, LBA: f.rng.Uint64() & frame.MaxSectors}.Append(b)
	return f.noise(b, f.payload)
}

func (f *forger) errorReply(b []byte) []byte {
	b = f.reply(b, aoe.CommandIssueATACommand, frame.FlagError)
	b[15] = byte(aoe.ErrorDeviceUnavailable)
	return frame.Pad(frame.ATA{}.Append(b))
}

func (f *forger) configReply(b []byte) []byte {
	b = f.reply(b, aoe.CommandQueryConfigInformation, 0)
	return frame.Pad(frame.Config{BufferCount: 1, SectorCount: 1}.Append(b))
}

func (f *forger) request(b []byte) []byte {
	b = frame.Header{
		Dst: f.initiator, Src: stranger, Addr: f.addr, Command: aoe.CommandIssueATACommand, Tag: f.rng.Uint32(),
	}.Append(b)
	return frame.Pad(frame.ATA{Count: 1, Op: frame.OpRead}.Append(b))
}

// cutShort is an AoE frame that ends somewhere in its header.
func (f *forger) cutShort(b []byte) []byte {
	b = f.readReply(b)
	return b[:frame.EthernetLen+f.rng.IntN(frame.HeaderLen-frame.EthernetLen)]
}

// ask begins a stranger's request to the target.
func (f *forger) ask(b []byte, to frame.Addr, c aoe.Command) []byte {
	return frame.Header{Dst: f.target, Src: stranger, Addr: to, Command: c, Tag: f.rng.Uint32()}.Append(b)
}

func (f *forger) setConfig(b []byte) []byte {
	to := f.addr
	if f.rng.IntN(2) == 0 {
		to = frame.Anywhere
	}
	b = f.ask(b, to, aoe.CommandQueryConfigInformation)
	return frame.Pad(frame.Config{Sub: aoe.ConfigCommandForceSet, String: []byte("forged")}.Append(b))
}

// editMask asks to admit the stranger alone, which would shut out the initiator.
func (f *forger) editMask(b []byte) []byte {
	b = f.ask(b, f.addr, aoe.CommandMACMaskList)
	b = frame.Mask{Sub: aoe.MACMaskCommandEdit, Count: 1}.Append(b)
	return frame.Pad(frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: stranger}.Append(b))
}

// setReserve asks to reserve the disk for the stranger alone.
func (f *forger) setReserve(b []byte) []byte {
	b = f.ask(b, f.addr, aoe.CommandReserveRelease)
	b = frame.Reserve{Sub: aoe.ReserveReleaseCommandForceSet, Count: 1}.Append(b)
	return frame.Pad(append(b, stranger[:]...))
}

func (f *forger) wildcardWrite(b []byte) []byte {
	b = f.ask(b, frame.Anywhere, aoe.CommandIssueATACommand)
	b = frame.ATA{AFlags: frame.AFlagExtended | frame.AFlagWrite, Count: 1, Op: frame.OpWriteExt}.Append(b)
	return f.noise(b, frame.SectorSize)
}

func (f *forger) shortWrite(b []byte) []byte {
	b = f.ask(b, f.addr, aoe.CommandIssueATACommand)
	b = frame.ATA{AFlags: frame.AFlagExtended | frame.AFlagWrite, Count: 8, Op: frame.OpWriteExt}.Append(b)
	return f.noise(b, frame.SectorSize)
}

func (f *forger) farRead(b []byte) []byte {
	b = f.ask(b, f.addr, aoe.CommandIssueATACommand)
	return frame.Pad(frame.ATA{AFlags: frame.AFlagExtended, Count: 8, Op: frame.OpReadExt, LBA: frame.MaxSectors - 4}.Append(b))
}
