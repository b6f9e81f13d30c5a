package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/frame/link"
	"aoe/frame/link/open"
)

// linkFlag is --link, the implementation of the port.
func linkFlag(f *pflag.FlagSet, to *string) {
	kinds := open.Kinds()
	f.StringVar(to, "link", open.Best, fmt.Sprintf("how to receive and send: %s (default %s)", strings.Join(kinds, " or "), kinds[0]))
}

// openLink opens an interface.
func openLink(name, kind string) (link.Link, error) { return openSized(name, kind, 0) }

// openSized opens an interface whose receive ring has at least so many slots.
func openSized(name, kind string, frames int) (link.Link, error) {
	if name == "" {
		return nil, exit.Usagef("no interface: say -i eth0")
	}
	if kind != open.Best && !slices.Contains(open.Kinds(), kind) {
		return nil, exit.Usagef("--link %q: want %s", kind, strings.Join(open.Kinds(), " or "))
	}
	return open.With(open.Config{Interface: name, Kind: kind, Frames: frames})
}

// mtuOf is the MTU of an interface, open or not.
func mtuOf(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		names, nerr := ethernets()
		if nerr != nil {
			return 0, fmt.Errorf("no interface %q: %w", name, errors.Join(err, nerr))
		}
		return 0, fmt.Errorf("no interface %q: there are %s: %w", name, strings.Join(names, ", "), err)
	}
	return ifi.MTU, nil
}

// ethernets are the interfaces that are up and have a MAC address, for commands
// that ask everywhere.
func ethernets() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, ifi := range all {
		if ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagLoopback == 0 && len(ifi.HardwareAddr) == 6 {
			names = append(names, ifi.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no Ethernet interface is up: name one with -i")
	}
	return names, nil
}
