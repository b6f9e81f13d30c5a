package xdp

import (
	"errors"
	"fmt"

	"aoe/frame/link/internal/nic"
	"aoe/frame/link/internal/port"

	"golang.org/x/sys/unix"
)

// A receiver has a socket for each queue of the interface.
type receiver struct {
	cfg     Config
	shape   shape
	home    namespace
	queues  []*queue
	fds     []int
	several bool     // frames may take several chunks
	program *program // nil with Config.Steer
}

// needs adds to a lack of permission what to do about it.
func needs(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: run as root, or setcap cap_net_raw,cap_net_admin,cap_bpf+ep aoe: %w", err)
	}
	return err
}

func openReceiver(cfg Config, info nic.Info) (_ *receiver, err error) {
	r := &receiver{cfg: cfg, shape: shapeFor(info.MTU, cfg.Frames), home: namespace{fd: -1}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.home, err = openNamespace(); err != nil {
		return nil, err
	}
	if cfg.Steer == nil {
		if r.program, err = newProgram(); err != nil {
			return nil, err
		}
		r.cfg.Steer = r.program
	}
	return r, r.open(info)
}

// open opens the sockets on the interface and steers frames into them. The thread
// is in the interface's namespace.
func (r *receiver) open(info nic.Info) error {
	for id := 0; ; id++ {
		if id == MaxQueues {
			return fmt.Errorf("the interface has more than %d queues: `ethtool -L %s combined 1`", MaxQueues, info.Name)
		}
		if id == len(r.queues) {
			q, err := newQueue(r.shape)
			if err != nil {
				return err
			}
			r.queues = append(r.queues, q)
		}
		several, err := r.queues[id].open(info.Index, uint32(id), r.cfg.Single)
		if errors.Is(err, unix.EINVAL) && id > 0 {
			// There is no such queue: they are numbered without gaps. Memory of
			// an interface before that had more is given back.
			return errors.Join(r.forget(id), r.steer(info))
		}
		if err != nil {
			return err
		}
		r.several = several
	}
}

// forget gives back the queues from id.
func (r *receiver) forget(id int) error {
	var errs []error
	for _, q := range r.queues[id:] {
		errs = append(errs, q.close())
	}
	r.queues = r.queues[:id]
	return errors.Join(errs...)
}

// steer has frames steered into the sockets.
func (r *receiver) steer(info nic.Info) error {
	r.fds = nil
	for id, q := range r.queues {
		r.fds = append(r.fds, q.fd)
		if err := r.cfg.Steer.Steer(uint32(id), q.fd); err != nil {
			return fmt.Errorf("queue %d: %w", id, err)
		}
	}
	if r.program != nil {
		return r.program.attach(info)
	}
	return nil
}

// FDs implements port.Receiver.
func (r *receiver) FDs() []int { return r.fds }

// Drain implements port.Receiver.
func (r *receiver) Drain(bufs [][]byte) (d port.Drained) {
	for _, q := range r.queues {
		for d.Frames < len(bufs) && q.fd >= 0 {
			n, v := q.next(bufs[d.Frames])
			if v == nothing {
				break
			}
			if v == truncated {
				d.Truncated++
				continue
			}
			bufs[d.Frames] = bufs[d.Frames][:n]
			d.Bytes += n
			d.Frames++
		}
	}
	return d
}

// Heed implements port.Receiver: reading the error is what makes waiting possible
// again. It tells that the interface is gone (H19).
func (r *receiver) Heed(i int) error {
	if _, err := unix.GetsockoptInt(r.fds[i], unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return fmt.Errorf("SO_ERROR: %w", err)
	}
	return nil
}

// Follow implements port.Receiver. A socket whose interface is gone cannot be
// bound again, so there are new ones, with the same memory.
func (r *receiver) Follow(info nic.Info, replaced bool) error {
	if !replaced {
		if r.program != nil && info.Exists() {
			return r.program.setMAC(info.MAC)
		}
		return nil
	}
	for _, q := range r.queues {
		if err := q.shut(); err != nil {
			return err
		}
	}
	r.fds = nil
	return r.home.do(func() error { return r.open(info) })
}

// MTU implements port.Receiver.
func (r *receiver) MTU(interfaces int) int {
	if r.several {
		return interfaces
	}
	return min(interfaces, r.shape.mtu())
}

// Drops implements port.Receiver.
func (r *receiver) Drops() (n uint64) {
	for _, q := range r.queues {
		n += q.drops()
	}
	return n
}

// Close implements port.Receiver.
func (r *receiver) Close() error {
	var errs []error
	if r.program != nil {
		errs = append(errs, r.program.close())
	}
	for _, q := range r.queues {
		errs = append(errs, q.close())
	}
	r.queues = nil
	return errors.Join(append(errs, r.home.close())...)
}
