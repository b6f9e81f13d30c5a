package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

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

// A pollFlag is --poll.
type pollFlag time.Duration

// mostPoll is a hundred times what sleeping and waking up costs.
const mostPoll = time.Millisecond

// flag defines it. What is waited for is "requests", or "answers".
func (p *pollFlag) flag(f *pflag.FlagSet, what string) {
	*p = pollFlag(open.UsualPoll)
	f.Var(p, "poll", "look for "+what+" for so long before sleeping, where that finds any; 0: sleep at once")
}

func (p *pollFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	if d < 0 || d > mostPoll {
		return fmt.Errorf("want a time from 0 to %v", mostPoll)
	}
	*p = pollFlag(d)
	return nil
}

func (p *pollFlag) String() string { return time.Duration(*p).String() }

func (p *pollFlag) Type() string { return "duration" }

// openLink opens an interface.
func openLink(name, kind string) (link.Link, error) {
	return openWith(open.Config{Interface: name, Kind: kind})
}

// openWith opens an interface that was named on the command line.
func openWith(cfg open.Config) (link.Link, error) {
	if cfg.Interface == "" {
		return nil, exit.Usagef("no interface: say -i eth0")
	}
	if cfg.Kind != open.Best && !slices.Contains(open.Kinds(), cfg.Kind) {
		return nil, exit.Usagef("--link %q: want %s", cfg.Kind, strings.Join(open.Kinds(), " or "))
	}
	return open.With(cfg)
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
