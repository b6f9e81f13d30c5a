package attach

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// The kernel's NBD client, include/uapi/linux/nbd-netlink.h.
const (
	nbdFamily        = "nbd"
	nbdFamilyVersion = 1

	nbdGenlConnect     = 1
	nbdGenlDisconnect  = 2
	nbdGenlReconfigure = 3

	nbdAttrIndex       = 1
	nbdAttrSize        = 2 // bytes
	nbdAttrBlockSize   = 3
	nbdAttrServerFlags = 5
	nbdAttrSockets     = 7 // of nbdSockItem, each with a nbdSockFD
	nbdAttrDeadTimeout = 8 // seconds
	nbdAttrBackend     = 10
	nbdSockItem        = 1
	nbdSockFD          = 1
)

// nbdAny lets the kernel choose a device.
const nbdAny = -1

// A nbdSetting is what the kernel is told of a device; zero fields are left
// out.
type nbdSetting struct {
	index     int // or nbdAny
	socket    int // descriptor of the kernel's end; zero: none
	size      int64
	blockSize int
	flags     uint16
	reconnect time.Duration
	backend   string
}

func (s nbdSetting) encode() ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	if s.index != nbdAny {
		e.Uint32(nbdAttrIndex, uint32(s.index))
	}
	for _, a := range []struct {
		kind  uint16
		value uint64
	}{
		{nbdAttrSize, uint64(s.size)},
		{nbdAttrBlockSize, uint64(s.blockSize)},
		{nbdAttrServerFlags, uint64(s.flags)},
		{nbdAttrDeadTimeout, uint64(s.reconnect / time.Second)},
	} {
		if a.value != 0 {
			e.Uint64(a.kind, a.value)
		}
	}
	if s.backend != "" {
		e.String(nbdAttrBackend, s.backend)
	}
	if s.socket != 0 {
		e.Nested(nbdAttrSockets, func(all *netlink.AttributeEncoder) error {
			all.Nested(nbdSockItem, func(one *netlink.AttributeEncoder) error {
				one.Uint32(nbdSockFD, uint32(s.socket))
				return nil
			})
			return nil
		})
	}
	return e.Encode()
}

// parseNBDIndex finds the number of the device in the kernel's reply.
func parseNBDIndex(data []byte) (int, error) {
	d, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return 0, fmt.Errorf("attach: the kernel's reply: %w", err)
	}
	index := nbdAny
	for d.Next() {
		if d.Type() == nbdAttrIndex {
			index = int(d.Uint32())
		}
	}
	if err := d.Err(); err != nil {
		return 0, fmt.Errorf("attach: the kernel's reply: %w", err)
	}
	if index == nbdAny {
		return 0, errors.New("attach: the kernel's reply does not say which NBD device it took")
	}
	return index, nil
}

// A nbdControl sends commands to the kernel's NBD client.
type nbdControl struct {
	conn   *genetlink.Conn
	family genetlink.Family
}

// openNBDControl also has the kernel load the module, if it can.
func openNBDControl() (*nbdControl, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("attach: generic netlink: %w", err)
	}
	family, err := conn.GetFamily(nbdFamily)
	if err != nil {
		conn.Close()
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("attach: this kernel has no NBD client: modprobe nbd: %w", err)
		}
		return nil, fmt.Errorf("attach: looking for the kernel's NBD client: %w", err)
	}
	return &nbdControl{conn, family}, nil
}

func (c *nbdControl) close() { c.conn.Close() }

// connect makes a device and returns its number. The reply is what tells it,
// so no acknowledgement is asked for.
func (c *nbdControl) connect(s nbdSetting) (int, error) {
	replies, err := c.send(nbdGenlConnect, s, netlink.Request)
	if err != nil {
		return 0, err
	}
	if len(replies) == 0 {
		return 0, errors.New("attach: the kernel's NBD client did not reply")
	}
	return parseNBDIndex(replies[0].Data)
}

func (c *nbdControl) reconfigure(s nbdSetting) error {
	_, err := c.send(nbdGenlReconfigure, s, netlink.Request|netlink.Acknowledge)
	return err
}

func (c *nbdControl) disconnect(index int) error {
	_, err := c.send(nbdGenlDisconnect, nbdSetting{index: index}, netlink.Request|netlink.Acknowledge)
	return err
}

func (c *nbdControl) send(command uint8, s nbdSetting, flags netlink.HeaderFlags) ([]genetlink.Message, error) {
	data, err := s.encode()
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return c.conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: command, Version: nbdFamilyVersion},
		Data:   data,
	}, c.family.ID, flags)
}

// doNBD opens the control, does f with it, and closes it.
func doNBD(f func(*nbdControl) error) error {
	c, err := openNBDControl()
	if err != nil {
		return err
	}
	defer c.close()
	return f(c)
}
