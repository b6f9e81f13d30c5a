package ring

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"aoe/frame"
	"aoe/frame/link/internal/nic"
	"aoe/frame/link/internal/port"
)

// A receiver is a packet socket with its ring. It belongs to Recv.
type receiver struct {
	fd   int
	mem  []byte // the mapped ring
	geo  geometry
	head int // the slot that the kernel fills next
}

// openReceiver makes a socket whose ring fits the MTU, and binds it last.
func openReceiver(cfg Config, index, mtu int) (r *receiver, err error) {
	// Protocol 0 receives nothing until bind(2) sets another.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", port.Needs(err))
	}
	r = &receiver{fd: fd}
	if err = r.prepare(cfg); err == nil {
		err = r.makeRing(geometryFor(max(mtu, cfg.MinMTU), cfg.Frames))
	}
	if err == nil {
		err = r.bind(index)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *receiver) prepare(cfg Config) error {
	if err := attachFilter(r.fd, cfg); err != nil {
		return fmt.Errorf("socket filter: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return fmt.Errorf("TPACKET_V2: %w", err)
	}
	// Before Linux 4.20 there was no such option. It is belt and braces: only
	// sockets of ETH_P_ALL hear what their own host sends.
	err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err != nil && err != unix.ENOPROTOOPT {
		return fmt.Errorf("PACKET_IGNORE_OUTGOING: %w", err)
	}
	return nil
}

// makeRing makes a ring of the given shape on a socket that has none, and maps it.
// The pages are the kernel's: they are never swapped out, and mmap(2) enters all
// of them, so that there is nothing to lock (MAP_LOCKED is ignored for such
// a mapping, except that RLIMIT_MEMLOCK can make it fail).
func (r *receiver) makeRing(geo geometry) error {
	if geo.bytes() > maxBytes {
		return fmt.Errorf("%d slots of %d bytes take %d bytes: at most %d: %w", geo.slots(), geo.slotSize, geo.bytes(), maxBytes, unix.ENOMEM)
	}
	req := unix.TpacketReq{
		Block_size: uint32(geo.blockSize),
		Block_nr:   uint32(geo.blocks),
		Frame_size: uint32(geo.slotSize),
		Frame_nr:   uint32(geo.slots()),
	}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("receive ring of %d slots, %d bytes: %w", geo.slots(), geo.bytes(), err)
	}
	mem, err := unix.Mmap(r.fd, 0, geo.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mapping the receive ring: %w", err)
	}
	r.mem, r.geo, r.head = mem, geo, 0
	return nil
}

// unmap takes the ring off the socket, with the frames that are in it. From then
// until makeRing frames go to the socket's queue, which makeRing empties.
func (r *receiver) unmap() error {
	if err := unix.Munmap(r.mem); err != nil {
		return fmt.Errorf("unmapping the receive ring: %w", err)
	}
	r.mem = nil
	// "Setting tp_block_nr to zero frees the ring", which has to be unmapped.
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{}); err != nil {
		return fmt.Errorf("taking the receive ring off: %w", err)
	}
	return nil
}

// grow gives the socket a ring whose slots fit the MTU. The socket stays, for it
// knows its network namespace and its filter. If there is no memory for a larger
// ring the old one is made again: what is too long for it is truncated, and counted.
func (r *receiver) grow(mtu int) error {
	old := r.geo
	if err := r.unmap(); err != nil {
		return err
	}
	if r.makeRing(geometryFor(mtu, old.slots())) == nil {
		return nil
	}
	return r.makeRing(old)
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
		return fmt.Errorf("bind to interface %d: %w", index, port.Needs(err))
	}
	return nil
}

// networkOrder is htons(3) on a little-endian machine, and does the right thing
// on others.
func networkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return nativeUint16(b)
}

// Close implements port.Receiver.
func (r *receiver) Close() error {
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

// FDs implements port.Receiver.
func (r *receiver) FDs() []int { return []int{r.fd} }

// Drain implements port.Receiver.
func (r *receiver) Drain(bufs [][]byte) (d port.Drained) {
	for d.Frames < len(bufs) && r.mem != nil { // nil: growing it has failed
		size, verdict := r.next(bufs[d.Frames])
		switch verdict {
		case slotEmpty:
			return d
		case slotTruncated:
			d.Truncated++
		case slotForeign:
			d.Foreign++
		case slotFrame:
			bufs[d.Frames] = bufs[d.Frames][:size]
			d.Bytes += size
			d.Frames++
		}
	}
	return d
}

// Heed implements port.Receiver. ENETDOWN is left as a pending error when the
// interface goes down; reading it is what makes poll wait again (H19).
func (r *receiver) Heed(int) error {
	if _, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return fmt.Errorf("SO_ERROR: %w", err)
	}
	return nil
}

// Follow implements port.Receiver.
func (r *receiver) Follow(info nic.Info, replaced bool) error {
	if replaced {
		if err := r.bind(info.Index); err != nil {
			return err
		}
	}
	if info.MTU > r.geo.mtu() {
		return r.grow(info.MTU)
	}
	return nil
}

// MTU implements port.Receiver: the slots are made to fit.
func (r *receiver) MTU(interfaces int) int { return interfaces }

// Drops implements port.Receiver. The kernel's count is reset by reading it.
func (r *receiver) Drops() uint64 {
	drops, err := kernelDrops(r.fd)
	if err != nil {
		return 0
	}
	return uint64(drops)
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
