package guard

import (
	"time"

	"aoe/frame"

	"github.com/cilium/ebpf/asm"
)

// What an XDP program returns (linux/bpf.h, enum xdp_action).
const (
	xdpDrop = 1
	xdpPass = 2
)

// offQueue is rx_queue_index of struct xdp_md, in the same file.
const offQueue = 16

// maps are the descriptors that the XDP program looks into.
type maps struct {
	disks    int // by address: the tables
	pulse    int // the words of pulse.go
	counters int
	sockets  int // by queue: of the tables with wordSocket set; 0 if the kernel has no AF_XDP
}

// guardProgram is the XDP program of a guard.
//
// Headers are copied by bpf_xdp_load_bytes, which also finds them where a frame
// lies in several pieces, as with jumbo frames.
func guardProgram(m maps, slots int, stale time.Duration, rules []Rule) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(rCtx, asm.R1),
		asm.Mov.Imm(rVerdict, int32(droppedForeign)),
		asm.Mov.Imm(asm.R1, 0), // a frame too short for a header has no EtherType
		asm.StoreMem(asm.RFP, stackHeader, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, stackHeader+8, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, stackHeader+16, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, stackKey, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
	}
	p = append(p, loadBytes(stackHeader, frame.HeaderLen)...)
	p = append(p,
		header(asm.R1, offType, asm.Half),
		asm.JNE.Imm(asm.R1, wire(uint16(frame.EtherType)), "foreign"),

		header(asm.R2, offShelf, asm.Half), // packAddr
		header(asm.R3, offSlot, asm.Byte),
		asm.LSh.Imm(asm.R3, 16),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.StoreMem(asm.RFP, stackAddr, asm.R2, asm.Word),
	)
	p = append(p, lookUp(m.disks, stackAddr)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "refuse"),
		asm.Mov.Reg(asm.R1, asm.R0), // the disk's table
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "refuse"),
		asm.Mov.Reg(rTable, asm.R0),
	)
	p = append(p, admission(slots, "ours", "refuse")...)
	p = append(p, steer(m.sockets, "ours", "pass")...)
	p = append(p,
		asm.Mov.Imm(rVerdict, int32(droppedAoE)).WithSymbol("refuse"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("foreign"),
	)
	p = append(p, memoryFine(m.pulse, stale, "fine", "crunch")...)
	p = append(p,
		asm.Mov.Imm(rVerdict, int32(passedForeign)).WithSymbol("fine"),
		asm.Ja.Label("pass"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("crunch"),
	)
	if len(rules) > 0 {
		p = append(p, dissect()...)
		p = append(p, allow(rules, "allowed")...)
	}
	p = append(p,
		asm.Mov.Imm(rTable, xdpDrop),
		asm.Ja.Label("count"),
	)
	if len(rules) > 0 {
		p = append(p, asm.Mov.Imm(rVerdict, int32(passedAllowed)).WithSymbol("allowed"))
	}
	p = append(p, asm.Mov.Imm(rTable, xdpPass).WithSymbol("pass"))
	return append(p, count("count", m.counters)...)
}

// steer sends a frame into the socket of the queue that it came in by, if the
// disk's table says that it has sockets, and otherwise goes to pass.
func steer(sockets int, label, pass string) asm.Instructions {
	if sockets == 0 {
		return asm.Instructions{asm.Ja.Label(pass).WithSymbol(label)}
	}
	return asm.Instructions{
		asm.LoadMem(asm.R1, rTable, 8*wordSocket, asm.DWord).WithSymbol(label),
		asm.JEq.Imm(asm.R1, 0, pass),
		asm.LoadMem(asm.R2, rCtx, offQueue, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Imm(asm.R3, xdpPass), // where there is no socket
		asm.FnRedirectMap.Call(),
		asm.Mov.Reg(rTable, asm.R0),
		asm.Ja.Label("count"),
	}
}

// memoryFine goes to fine if no disk has begun, or every one that has did tell
// within stale that it works, and none that memory is short.
//
// The clock is read after the beats, so that none of them is in its future.
func memoryFine(pulse int, stale time.Duration, fine, crunch string) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMapValue(rTable, pulse, 0),
		asm.Mov.Imm(asm.R9, -1), // the oldest beat
	}
	for i := range MaxDisks {
		next := "disk-" + string(rune('a'+i))
		p = append(p,
			asm.LoadMem(asm.R1, rTable, int16(8*wordShort(i)), asm.DWord),
			asm.JNE.Imm(asm.R1, 0, crunch),
			asm.LoadMem(asm.R1, rTable, int16(8*wordBeat(i)), asm.DWord),
			asm.JEq.Imm(asm.R1, 0, next),
			asm.JGE.Reg(asm.R1, asm.R9, next),
			asm.Mov.Reg(asm.R9, asm.R1),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(next),
		)
	}
	return append(p,
		asm.JEq.Imm(asm.R9, -1, fine),
		asm.FnKtimeGetNs.Call(),
		asm.Sub.Reg(asm.R0, asm.R9),
		asm.JGT.Imm(asm.R0, int32(stale), crunch),
	)
}
