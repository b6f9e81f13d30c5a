package trace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"aoe/cmd/internal/pcap"
	"aoe/frame"
)

// snap is more than any AoE frame is long.
const snap = 16 << 10

// Listen hands f the AoE frames that pass the interface, in both directions, with
// the kernel's time, until ctx is done or f returns an error. Frames in a VLAN,
// whose tag the kernel has taken off, are there as well. It returns how many
// frames came faster than f took them, and are missing. ready is called when no
// frame will be missed for not listening yet.
func Listen(ctx context.Context, ifname string, ready func(), f func(pcap.Frame) error) (missed uint64, err error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return 0, fmt.Errorf("trace: %s: %w", ifname, err)
	}
	s, err := socket(ifi.Index)
	if errors.Is(err, unix.EPERM) {
		return 0, fmt.Errorf("trace: %s: %w: capturing needs root or CAP_NET_RAW", ifname, err)
	}
	if err != nil {
		return 0, fmt.Errorf("trace: %s: %w", ifname, err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := s.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("trace: %s: %w", ifname, err)
	}
	ready()
	err = receive(ctx, conn, f)
	if err != nil {
		err = fmt.Errorf("trace: %s: %w", ifname, err)
	}
	ctlErr := conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			missed = uint64(s.Drops)
		}
	})
	return missed, errors.Join(err, ctlErr)
}

// receive is Listen with the socket. When ctx is done it takes what has arrived
// until then.
func receive(ctx context.Context, conn syscall.RawConn, f func(pcap.Frame) error) error {
	t := taker{buf: make([]byte, snap), control: make([]byte, 256)}
	for {
		err := conn.Read(func(fd uintptr) bool { return t.take(fd) })
		if err != nil && ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if err := t.hand(f); err != nil {
			return err
		}
	}
	for more := true; more; {
		if err := conn.Control(func(fd uintptr) { more = t.take(fd) && t.err == nil }); err != nil {
			return err
		}
		if more {
			if err := t.hand(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// A taker takes one frame at a time off a socket.
type taker struct {
	buf, control []byte
	n, nc        int
	err          error
}

// take reports false when there is no frame yet.
func (t *taker) take(fd uintptr) bool {
	// "MSG_TRUNC: return the real length of the packet" (recv(2))
	t.n, t.nc, _, _, t.err = unix.Recvmsg(int(fd), t.buf, t.control, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	return !errors.Is(t.err, unix.EAGAIN)
}

// hand gives f the frame that was taken.
func (t *taker) hand(f func(pcap.Frame) error) error {
	if errors.Is(t.err, unix.ENETDOWN) || errors.Is(t.err, unix.EINTR) {
		return nil // frames may come again (H19)
	}
	if t.err != nil {
		return t.err
	}
	return f(pcap.Frame{Time: stamp(t.control[:t.nc]), Data: t.buf[:min(t.n, len(t.buf))], Length: t.n})
}

// socket receives AoE frames, those that leave too: "ETH_P_ALL ... all packets".
// A socket for one EtherType does not see what this host sends.
func socket(ifindex int) (*os.File, error) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(frame.EtherType), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: snap},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		// Frames come in bursts. More than the system allows is cut, and no error.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20),
	)
	if err == nil {
		// Bound last: from here on frames come, and only those.
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// stamp is the time at which the kernel saw the frame.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(syscall.Timespec{})) {
			ts := (*syscall.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(int64(ts.Sec), int64(ts.Nsec))
		}
	}
	return time.Now()
}
