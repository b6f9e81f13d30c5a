package ring

import (
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"aoe/frame"
)

// A receiver is a packet socket with its ring. It belongs to Recv.
type receiver struct {
	fd   int
	mem  []byte // the mapped ring
	geo  geometry
	head int // the slot that the kernel fills next
}

var errClosed = fmt.Errorf("ring: %w", net.ErrClosed)

// needs adds to a lack of permission what to do about it.
func needs(err error) error {
	if err == unix.EPERM || err == unix.EACCES {
		return fmt.Errorf("needs CAP_NET_RAW: run as root, or setcap cap_net_raw+ep aoe: %w", err)
	}
	return err
}

// openReceiver makes a socket whose ring fits the MTU, and binds it last.
func openReceiver(cfg Config, index, mtu int) (r receiver, err error) {
	// Protocol 0 receives nothing until bind(2) sets another.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return receiver{fd: -1}, fmt.Errorf("ring: packet socket: %w", needs(err))
	}
	r = receiver{fd: fd, geo: geometryFor(max(mtu, cfg.MinMTU), cfg.Frames)}
	if err := r.prepare(cfg); err != nil {
		r.close()
		return receiver{fd: -1}, err
	}
	if err := r.bind(index); err != nil {
		r.close()
		return receiver{fd: -1}, err
	}
	return r, nil
}

func (r *receiver) prepare(cfg Config) error {
	if err := attachFilter(r.fd, cfg); err != nil {
		return fmt.Errorf("ring: socket filter: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return fmt.Errorf("ring: TPACKET_V2: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("ring: PACKET_IGNORE_OUTGOING (Linux 4.20 or later): %w", err)
	}
	req := unix.TpacketReq{
		Block_size: uint32(r.geo.blockSize),
		Block_nr:   uint32(r.geo.blocks),
		Frame_size: uint32(r.geo.slotSize),
		Frame_nr:   uint32(r.geo.slots()),
	}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("ring: receive ring of %d slots, %d bytes: %w", r.geo.slots(), r.geo.bytes(), err)
	}
	// The pages are the kernel's and in place: nothing to populate or lock.
	mem, err := unix.Mmap(r.fd, 0, r.geo.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("ring: mapping the receive ring: %w", err)
	}
	r.mem = mem
	return nil
}

func attachFilter(fd int, cfg Config) error {
	if cfg.FilterFD > 0 {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, cfg.FilterFD)
	}
	program := cfg.Filter
	if program == nil {
		program = DefaultFilter()
	}
	filter := sockFilter(program)
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func sockFilter(program []bpf.RawInstruction) []unix.SockFilter {
	filter := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return filter
}

func (r *receiver) bind(index int) error {
	err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(uint16(frame.EtherType)), Ifindex: index})
	if err != nil && err != unix.ENETDOWN { // down is a state, not a failure
		return fmt.Errorf("ring: bind to interface %d: %w", index, needs(err))
	}
	return nil
}

// networkOrder is htons(3) on a little-endian machine, and does the right thing
// on others.
func networkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return nativeUint16(b)
}

func (r *receiver) close() error {
	var err error
	if r.mem != nil {
		err = unix.Munmap(r.mem)
		r.mem = nil
	}
	if r.fd >= 0 {
		if e := unix.Close(r.fd); err == nil {
			err = e
		}
		r.fd = -1
	}
	return err
}

// What next found in a slot.
type slotVerdict int

const (
	slotEmpty     slotVerdict = iota
	slotFrame                 // copied
	slotTruncated             // longer than the slot or the buffer: given back
	slotForeign               // not ours: given back
)

// next moves the frame in the head slot into buf and gives the slot back.
//
// A slot belongs to the kernel while its status is TP_STATUS_KERNEL and to this
// process while TP_STATUS_USER is set. The kernel writes the status last, with a
// barrier before it; the atomic load pairs with that. The atomic store that
// gives the slot back comes after the last read of it (packet_mmap, "Ring
// buffer").
func (r *receiver) next(buf []byte) (int, slotVerdict) {
	off := r.geo.offset(r.head)
	h := headerAt(r.mem, off)
	status := atomic.LoadUint32(&h.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return 0, slotEmpty
	}
	n, verdict := 0, slotFrame
	switch {
	case status&unix.TP_STATUS_VLAN_VALID != 0:
		// The hardware took a VLAN tag off: the frame is another network's (H10).
		verdict = slotForeign
	case h.Len > h.Snaplen || int(h.Len) > cap(buf):
		verdict = slotTruncated
	default:
		n = copy(buf[:h.Len], r.mem[off+int(h.Mac):])
	}
	atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
	if r.head++; r.head == r.geo.slots() {
		r.head = 0
	}
	return n, verdict
}
