package veth

import (
	"aoe/frame"
)

// A Config describes the cables to be made. The zero value is good.
type Config struct {
	// MTU of all interfaces in bytes, without the Ethernet header. Zero means
	// 1500. The kernel refuses less than 68 and more than 65535.
	MTU int
}

// DefaultMTU is what a zero Config.MTU means.
const DefaultMTU = 1500

func (c Config) mtu() int {
	if c.MTU == 0 {
		return DefaultMTU
	}
	return c.MTU
}

// A Host is a network namespace with one Ethernet interface.
type Host struct {
	Interface string    // name of the interface inside: "eth0" on every host
	MAC       frame.MAC // of the interface: locally administered, 02:00:00:00:00:01 and up

	namespace
}

// A Pair is two hosts joined by one cable, with both ends up.
type Pair struct {
	A, B *Host

	cfg Config
	// next is the index the next interface of A gets. See Pair.plug.
	next int
}

// A Bridge is any number of hosts joined by a learning switch of the kernel's,
// with all ends up.
type Bridge struct {
	Hosts []*Host

	switchboard namespace
}

// hostMAC is the address of the i-th host of a network.
func hostMAC(i int) frame.MAC {
	n := i + 1
	return frame.MAC{0x02, 0, 0, 0, byte(n >> 8), byte(n)}
}
