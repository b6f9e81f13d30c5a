package guard

import (
	"encoding/binary"
	"math/bits"

	"aoe/frame"

	"github.com/cilium/ebpf/asm"
)

// Registers that a call leaves alone, and what they hold in our programs.
const (
	rCtx     = asm.R6 // the frame, as the kernel names it
	rTable   = asm.R7 // the table; at the end what the program returns
	rVerdict = asm.R8
)

// The stack, from its top: a copy of the frame's first bytes, and a key.
const (
	stackHeader = -24 // frame.HeaderLen bytes
	stackKey    = -28 // four bytes
	stackAddr   = -32 // four bytes
)

// Offsets in a frame, see frame.Parse.
const (
	offType    = 12
	offFlags   = 14
	offShelf   = 16
	offSlot    = 18
	offCommand = 19
)

// header reads a field of the copied header.
func header(dst asm.Register, offset int16, size asm.Size) asm.Instruction {
	return asm.LoadMem(dst, asm.RFP, stackHeader+offset, size)
}

// wire is a 16-bit number of the frame as a program reads it.
func wire(v uint16) int32 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return int32(binary.NativeEndian.Uint16(b[:]))
}

// lookUp calls bpf_map_lookup_elem for the key on the stack. R0 is a pointer to
// the value, or 0.
func lookUp(m int, key int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, m),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
	}
}

// count counts the verdict and leaves the program with what rTable holds.
func count(label string, counters int) asm.Instructions {
	p := asm.Instructions{asm.StoreMem(asm.RFP, stackKey, rVerdict, asm.Word).WithSymbol(label)}
	p = append(p, lookUp(counters, stackKey)...)
	return append(p,
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R0, rTable).WithSymbol("end"),
		asm.Return(),
	)
}

// admission is the rule of engine.Engine.Admits: it goes to keep for a frame
// that a disk wants, and to refuse for any other, with the verdict in rVerdict.
// The header is on the stack, its EtherType was looked at, and rTable points at
// the table.
func admission(slots int, keep, refuse string) asm.Instructions {
	p := asm.Instructions{
		header(asm.R1, offFlags, asm.Byte),
		asm.Mov.Imm(rVerdict, int32(droppedRequest)),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, frame.FlagResponse),
		asm.JEq.Imm(asm.R2, 0, refuse),

		asm.Mov.Imm(rVerdict, int32(droppedVersion)),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, 4),
		asm.JNE.Imm(asm.R2, int32(frame.Version), refuse),

		asm.Mov.Imm(rVerdict, int32(droppedAddress)),
		header(asm.R2, offShelf, asm.Half),
		header(asm.R3, offSlot, asm.Byte),
		asm.LSh.Imm(asm.R3, 16),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.LoadMem(asm.R3, rTable, 8*wordAddr, asm.DWord),
		asm.JNE.Reg(asm.R2, asm.R3, refuse),

		asm.Mov.Imm(rVerdict, int32(keptAsked)),
		asm.LoadMem(asm.R2, rTable, 8*wordMode, asm.DWord),
		asm.JNE.Imm(asm.R2, modeServing, keep),

		asm.Mov.Imm(rVerdict, int32(droppedSource)),
		header(asm.R2, 8, asm.Word), // packSrc
		header(asm.R3, 6, asm.Half),
		asm.LSh.Imm(asm.R3, 32),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.LoadMem(asm.R3, rTable, 8*wordRemote, asm.DWord),
		asm.JNE.Reg(asm.R2, asm.R3, refuse),
	}
	return append(p, tagged(slots, keep, refuse)...)
}

// tagged is the second half of admission. R1 holds the version and the flags.
func tagged(slots int, keep, refuse string) asm.Instructions {
	tagBits := bits.Len(uint(slots)) - 1
	return asm.Instructions{
		header(asm.R4, offCommand, asm.Byte),
		header(asm.R5, frame.TagOffset, asm.Word),
		asm.HostTo(asm.BE, asm.R5, asm.Word),

		// An announcement: no tag, a query's answer without an error, to anybody.
		asm.Mov.Imm(rVerdict, int32(keptAnnouncement)),
		asm.JNE.Imm(asm.R5, 0, "addressed"),
		asm.JNE.Imm(asm.R4, int32(commandQuery), "addressed"),
		asm.And.Imm(asm.R1, frame.FlagError),
		asm.JEq.Imm(asm.R1, 0, keep),

		asm.Mov.Imm(rVerdict, int32(droppedDestination)).WithSymbol("addressed"),
		header(asm.R2, 0, asm.Word), // packDst
		header(asm.R3, 4, asm.Half),
		asm.LSh.Imm(asm.R3, 32),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.LoadMem(asm.R3, rTable, 8*wordLocal, asm.DWord),
		asm.JNE.Reg(asm.R2, asm.R3, refuse),

		// Bit 31 is always clear, and slot 0 is never used: its word is 0.
		asm.Mov.Imm(rVerdict, int32(droppedTag)),
		asm.Mov.Reg(asm.R2, asm.R5),
		asm.RSh.Imm(asm.R2, 31),
		asm.JNE.Imm(asm.R2, 0, refuse),
		asm.Mov.Reg(asm.R2, asm.R5),
		asm.And.Imm(asm.R2, int32(slots-1)),
		asm.LSh.Imm(asm.R2, 3),
		asm.Add.Reg(asm.R2, rTable),
		asm.LoadMem(asm.R3, asm.R2, 8*wordTags, asm.DWord), // the slot's word

		// (generation - first) modulo the generations < count
		asm.RSh.Imm(asm.R5, int32(tagBits)),
		asm.Sub.Reg(asm.R5, asm.R3),
		asm.And.Imm(asm.R5, 1<<(31-tagBits)-1),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.LSh.Imm(asm.R2, 1),
		asm.RSh.Imm(asm.R2, 33), // count
		asm.JGE.Reg(asm.R5, asm.R2, refuse),

		// The commands of an initiator are 0 and 1, as is the highest bit.
		asm.Mov.Imm(rVerdict, int32(droppedCommand)),
		asm.RSh.Imm(asm.R3, 63),
		asm.JNE.Reg(asm.R3, asm.R4, refuse),

		asm.Mov.Imm(rVerdict, int32(keptAnswer)),
		asm.Ja.Label(keep),
	}
}
