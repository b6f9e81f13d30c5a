// Package nic looks at a network interface, and tells when it has changed.
//
// An [Observer] looks from the network namespace it was opened in, whichever
// thread calls it later. It belongs to one goroutine.
package nic

import (
	"fmt"
	"net"
	"strings"

	"aoe/frame"
	"aoe/frame/link"
)

// An Info is what an interface is at a moment. The zero value means that there
// is no such interface.
type Info struct {
	Index int
	Name  string
	MAC   frame.MAC
	MTU   int  // in bytes, without the Ethernet header
	Up    bool // administratively up and carrier present
}

// Exists reports whether there was an interface to look at.
func (i Info) Exists() bool { return i.Index != 0 }

// State is what a link in the given state is in when it has looked: the next
// generation, if anything has changed. An interface that has been replaced is a
// change even if the new one is just like it, for it was gone meanwhile.
func (i Info) State(old link.State, replaced bool) (s link.State, wentDown bool) {
	s = link.State{Name: i.Name, MAC: i.MAC, MTU: i.MTU, Up: i.Up, Generation: old.Generation}
	if !i.Exists() {
		s = old
		s.Up = false
	}
	if s == old && !replaced {
		return old, false
	}
	s.Generation++
	return s, old.Up && (replaced || !s.Up)
}

// find looks for an interface that frames can be sent through.
func find(name string) (*net.Interface, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("no interface %q: there are %s: %w", name, ethernets(), err)
	}
	if ifi.Flags&net.FlagLoopback != 0 {
		// H25: what is sent there comes back to the sender, not to a peer.
		return nil, fmt.Errorf("%s is the loopback interface, which has no other end: join two hosts, or two namespaces, with a veth pair", name)
	}
	if len(ifi.HardwareAddr) != len(frame.MAC{}) {
		return nil, fmt.Errorf("%s is not an Ethernet interface: there are %s", name, ethernets())
	}
	return ifi, nil
}

// ethernets names the interfaces that could be meant.
func ethernets() string {
	all, err := net.Interfaces()
	if err != nil {
		return "none that can be listed: " + err.Error()
	}
	var names []string
	for _, ifi := range all {
		if len(ifi.HardwareAddr) == len(frame.MAC{}) && ifi.Flags&net.FlagLoopback == 0 {
			names = append(names, ifi.Name)
		}
	}
	if names == nil {
		return "no Ethernet interfaces"
	}
	return strings.Join(names, ", ")
}

func infoOf(ifi *net.Interface) Info {
	return Info{
		Index: ifi.Index,
		Name:  ifi.Name,
		MAC:   frame.MAC(ifi.HardwareAddr),
		MTU:   ifi.MTU,
		Up:    ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagRunning != 0,
	}
}
