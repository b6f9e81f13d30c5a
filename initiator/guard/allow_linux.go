package guard

import (
	"encoding/binary"
	"fmt"

	"aoe/frame"

	"github.com/cilium/ebpf/asm"
)

// The stack below what admission has: a copy of the IP header and of the ports
// behind it.
const (
	stackIP    = -72 // 40 bytes
	stackPorts = -76 // four bytes
)

// Registers of the allow list.
const (
	rType = asm.R7 // the EtherType as it stands in the frame; 0 if there is none to go by
	rTo   = asm.R9 // protocol, and above it our port, or 0 where there is none
)

// Offsets in the headers of RFC 791 and RFC 8200.
const (
	ip4Len, ip4Fragment, ip4Protocol, ip4From = 20, 6, 9, 12
	ip6Len, ip6Next, ip6From                  = 40, 6, 8
)

// loadBytes copies n bytes of the frame, beginning at the offset in R2, to the
// stack. R0 is 0 if there were as many.
func loadBytes(to, n int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, rCtx),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, to),
		asm.Mov.Imm(asm.R4, n),
		asm.FnXdpLoadBytes.Call(),
	}
}

// dissect reads what the rules of IP go by. It ends at the label "rules".
func dissect() asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Imm(rTo, 0),
		asm.Mov.Imm(asm.R1, 0),
	}
	for off := int16(stackIP); off < stackIP+ip6Len; off += 8 {
		p = append(p, asm.StoreMem(asm.RFP, off, asm.R1, asm.DWord))
	}
	p = append(p,
		header(rType, offType, asm.Half),
		asm.JEq.Imm(rType, wire(typeIPv6), "ip6"),
		asm.JNE.Imm(rType, wire(typeIPv4), "rules"),
		asm.Mov.Imm(asm.R2, frame.EthernetLen),
	)
	p = append(p, loadBytes(stackIP, ip4Len)...)
	p = append(p,
		asm.JNE.Imm(asm.R0, 0, "unreadable"),
		asm.LoadMem(asm.R1, asm.RFP, stackIP, asm.Byte), // version and header length in words
		asm.LoadMem(rTo, asm.RFP, stackIP+ip4Protocol, asm.Byte),
		asm.LoadMem(asm.R2, asm.RFP, stackIP+ip4Fragment, asm.Half),
		asm.And.Imm(asm.R2, wire(0x1fff)),
		asm.JNE.Imm(asm.R2, 0, "rules"), // not the first fragment: no port
		asm.And.Imm(asm.R1, 15),
		asm.LSh.Imm(asm.R1, 2),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, frame.EthernetLen),
		asm.Ja.Label("ports"),

		asm.Mov.Imm(asm.R2, frame.EthernetLen).WithSymbol("ip6"),
	)
	p = append(p, loadBytes(stackIP, ip6Len)...)
	p = append(p,
		asm.JNE.Imm(asm.R0, 0, "unreadable"),
		asm.LoadMem(rTo, asm.RFP, stackIP+ip6Next, asm.Byte),
		asm.Mov.Imm(asm.R2, frame.EthernetLen+ip6Len),
	)
	ports := loadBytes(stackPorts, 4)
	ports[0] = ports[0].WithSymbol("ports")
	p = append(p, ports...)
	return append(p,
		asm.JNE.Imm(asm.R0, 0, "rules"),
		asm.LoadMem(asm.R1, asm.RFP, stackPorts+2, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.LSh.Imm(asm.R1, 8),
		asm.Or.Reg(rTo, asm.R1),
		asm.Ja.Label("rules"),
		asm.Mov.Imm(rType, 0).WithSymbol("unreadable"),
		// A label wants an instruction.
		asm.Mov.Imm(asm.R0, 0).WithSymbol("rules"),
	)
}

// allow goes to the label to for what a rule names.
func allow(rules []Rule, to string) asm.Instructions {
	var p asm.Instructions
	for i, r := range rules {
		if !r.ip {
			p = append(p, asm.JEq.Imm(rType, wire(r.etherType), to))
			continue
		}
		for _, family := range []uint16{typeIPv4, typeIPv6} {
			if r.of(family) {
				p = append(p, allowIP(r, family, to, fmt.Sprintf("rule-%d-%#x", i, family))...)
			}
		}
	}
	return p
}

// allowIP is a rule of IP for one family. It ends at the label next.
func allowIP(r Rule, family uint16, to, next string) asm.Instructions {
	p := asm.Instructions{asm.JNE.Imm(rType, wire(family), next)}
	if n := r.number(family); n != 0 {
		p = append(p, asm.Mov.Reg(asm.R1, rTo))
		if r.port == 0 {
			p = append(p, asm.And.Imm(asm.R1, 0xff))
		}
		p = append(p, asm.JNE.Imm(asm.R1, n|int32(r.port)<<8, next))
	}
	if r.from.IsValid() {
		offset := int16(stackIP + ip4From)
		if family == typeIPv6 {
			offset = stackIP + ip6From
		}
		p = append(p, fromPrefix(r, offset, next)...)
	}
	return append(p, asm.Ja.Label(to), asm.Mov.Imm(asm.R0, 0).WithSymbol(next))
}

// fromPrefix goes to next unless the address on the stack is in r.from.
func fromPrefix(r Rule, offset int16, next string) (p asm.Instructions) {
	address := r.from.Addr().AsSlice()
	for i, left := 0, r.from.Bits(); left > 0; i, left = i+4, left-32 {
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-min(left, 32)))
		p = append(p,
			asm.LoadMem(asm.R1, asm.RFP, offset+int16(i), asm.Word),
			asm.And.Imm32(asm.R1, int32(binary.NativeEndian.Uint32(mask[:]))),
			asm.JNE.Imm32(asm.R1, int32(binary.NativeEndian.Uint32(address[i:])), next),
		)
	}
	return p
}
