package guard

import (
	"errors"
	"fmt"

	"aoe/frame/link/xdp"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// newSockets makes the list of sockets by queue, which all disks of a guard share:
// a queue has one AF_XDP socket, whoever's it is. It is nil where the kernel was
// built without AF_XDP.
func newSockets() (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "aoe_sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: xdp.MaxQueues,
	})
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("the list of sockets: %w", err)
	}
	return m, nil
}

// steering is the xdp.Steerer of one disk.
type steering struct {
	guard *Guard
	table *Table
}

// Steer makes what a disk gets go into the sockets of a link (xdp.Config.Steer), and
// not up the stack, where a packet socket would receive it later, or never. The
// table was added to the guard. There is one such link on an interface, of all
// disks and processes: opening a second fails (xdp.ErrInUse), and its disk goes on
// with a packet socket.
func (g *Guard) Steer(t *Table) xdp.Steerer { return steering{g, t} }

// Steer implements xdp.Steerer. What came in by a queue without a socket goes on
// up the stack.
func (s steering) Steer(queue uint32, socket int) error {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	switch {
	case s.guard.closed:
		return errors.New("guard: it was closed")
	case s.guard.maps.sockets == nil:
		return fmt.Errorf("guard: the guard on the interface knows no sockets: this kernel has no AF_XDP: %w", errors.ErrUnsupported)
	}
	if err := s.guard.maps.sockets.Put(queue, uint32(socket)); err != nil {
		return fmt.Errorf("guard: the socket of queue %d: %w", queue, err)
	}
	s.table.words.store(wordSocket, 1)
	return nil
}
