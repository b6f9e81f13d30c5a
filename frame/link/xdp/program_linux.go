package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"aoe/frame"
	"aoe/frame/link/internal/nic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A program is the XDP program of a link that has one of its own.
type program struct {
	sockets *ebpf.Map // by queue
	mac     *ebpf.Map // one element: the interface's address, as packed
	link    link.Link // nil until it is attached
	mode    string
}

// license of the program. None of the kernel's functions that it calls asks for
// another.
const license = "MIT"

func newProgram() (*program, error) {
	p := &program{}
	var err error
	p.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "aoe_sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: MaxQueues})
	if err == nil {
		p.mac, err = ebpf.NewMap(&ebpf.MapSpec{Name: "aoe_mac", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("maps of the program: %w", needs(err)), p.close())
	}
	return p, nil
}

// Steer implements Steerer.
func (p *program) Steer(queue uint32, socket int) error {
	return p.sockets.Put(queue, uint32(socket))
}

// setMAC says which address is ours.
func (p *program) setMAC(m frame.MAC) error { return p.mac.Put(uint32(0), packMAC(m)) }

// packMAC is an address as the program reads it from the beginning of a frame.
func packMAC(m frame.MAC) uint64 {
	return uint64(binary.NativeEndian.Uint32(m[0:4])) | uint64(binary.NativeEndian.Uint16(m[4:6]))<<32
}

// attach puts the program on the interface, in the driver if that can.
func (p *program) attach(info nic.Info) error {
	if err := p.setMAC(info.MAC); err != nil {
		return fmt.Errorf("the interface's address: %w", err)
	}
	if p.link != nil { // of an interface that is gone
		err := p.link.Close()
		p.link = nil
		if err != nil {
			return fmt.Errorf("the program on the interface before: %w", err)
		}
	}
	var why []error
	for _, try := range []struct {
		mode  string
		flags link.XDPAttachFlags
		frags uint32
	}{
		{"driver", link.XDPDriverMode, unix.BPF_F_XDP_HAS_FRAGS},
		{"driver", link.XDPDriverMode, 0},
		{"generic", link.XDPGenericMode, 0},
	} {
		loaded, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "aoe_link", Type: ebpf.XDP, License: license, Flags: try.frags, Instructions: p.instructions(),
		})
		if err != nil {
			return fmt.Errorf("the program: %w", needs(err))
		}
		p.link, err = link.AttachXDP(link.XDPOptions{Program: loaded, Interface: info.Index, Flags: try.flags})
		err = errors.Join(err, loaded.Close()) // the link holds it
		if err == nil {
			p.mode = try.mode
			return nil
		}
		p.link = nil
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
		why = append(why, fmt.Errorf("%s mode: %w", try.mode, err))
	}
	return errors.Join(why...)
}

// Of struct xdp_md and enum xdp_action in linux/bpf.h.
const (
	offQueue = 16 // rx_queue_index
	xdpPass  = 2
)

// The stack: a copy of the frame's first bytes, and a key.
const (
	stackFrame = -16
	stackKey   = -24
	offType    = 12
)

// instructions steer AoE that is for this host, or for a group, into the socket of
// the queue that it came in by, and pass everything else; also that for which there
// is no socket.
func (p *program) instructions() asm.Instructions {
	aoe := binary.NativeEndian.Uint16([]byte{byte(frame.EtherType >> 8), byte(frame.EtherType & 0xff)})
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stackFrame),
		asm.Mov.Imm(asm.R4, frame.EthernetLen),
		asm.FnXdpLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.RFP, stackFrame+offType, asm.Half),
		asm.JNE.Imm(asm.R1, int32(aoe), "pass"),
		asm.LoadMem(asm.R1, asm.RFP, stackFrame, asm.Byte),
		asm.And.Imm(asm.R1, 1), // a group's address (IEEE 802, 8.2)
		asm.JNE.Imm(asm.R1, 0, "ours"),
		asm.StoreImm(asm.RFP, stackKey, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, p.mac.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.LoadMem(asm.R2, asm.RFP, stackFrame, asm.Word), // packMAC
		asm.LoadMem(asm.R3, asm.RFP, stackFrame+4, asm.Half),
		asm.LSh.Imm(asm.R3, 32),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.JNE.Reg(asm.R1, asm.R2, "pass"),
		asm.LoadMem(asm.R2, asm.R6, offQueue, asm.Word).WithSymbol("ours"),
		asm.LoadMapPtr(asm.R1, p.sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

// close takes the program off the interface.
func (p *program) close() error {
	var errs []error
	if p.link != nil {
		errs = append(errs, p.link.Close())
		p.link = nil
	}
	for _, m := range []*ebpf.Map{p.sockets, p.mac} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
