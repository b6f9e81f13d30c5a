package guard

import (
	"aoe/frame"

	"github.com/cilium/ebpf/asm"
	"github.com/mdlayher/aoe"
)

const commandQuery = aoe.CommandQueryConfigInformation

// skbPacketType is a field of struct __sk_buff (linux/bpf.h), the kernel's view
// of a frame for socket filters.
const skbPacketType = 4

// packetOtherHost is PACKET_OTHERHOST of packet(7): to another host, heard
// because the port hears everything, or because it was of a VLAN that this host
// has no interface for and the kernel has taken the tag off (H10).
const packetOtherHost = 3

// wholeFrame is what a socket filter returns to keep a frame of any length.
const wholeFrame = 0x40000

// filterProgram is the socket filter of one disk.
//
// The header is copied by bpf_skb_load_bytes: many drivers leave nothing but the
// Ethernet header in the part of the frame that a program could read directly.
// The frame begins at its Ethernet header, because the socket is of SOCK_RAW.
func filterProgram(table, counters, slots int) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(rCtx, asm.R1),
		asm.Mov.Imm(rVerdict, int32(droppedElsewhere)),
		asm.LoadMem(asm.R2, rCtx, skbPacketType, asm.Word),
		asm.JEq.Imm(asm.R2, packetOtherHost, "drop"),

		asm.Mov.Imm(rVerdict, int32(droppedShort)),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stackHeader),
		asm.Mov.Imm(asm.R4, frame.HeaderLen),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(rVerdict, int32(droppedType)),
		header(asm.R1, offType, asm.Half),
		asm.JNE.Imm(asm.R1, wire(uint16(frame.EtherType)), "drop"),

		// An array has its element 0, but the verifier wants to see it checked.
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, stackKey, asm.R1, asm.Word),
	}
	p = append(p, lookUp(table, stackKey)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Reg(rTable, asm.R0),
	)
	p = append(p, admission(slots, "keep", "drop")...)
	p = append(p,
		asm.Mov.Imm(rTable, wholeFrame).WithSymbol("keep"),
		asm.Ja.Label("count"),
		asm.Mov.Imm(rTable, 0).WithSymbol("drop"),
	)
	return append(p, count("count", counters)...)
}
