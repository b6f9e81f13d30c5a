package main

import (
	"fmt"
	"io"
	"net"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
)

// printPlan prints the bill for the interface's MTU. It needs no privilege.
func (c attachConfig) printPlan(w io.Writer, addr frame.Addr) error {
	if c.ifname == "" {
		return exit.Usagef("no interface: say -i eth0")
	}
	ifi, err := net.InterfaceByName(c.ifname)
	if err != nil {
		return fmt.Errorf("%s: %w", c.ifname, err)
	}
	p, err := c.disk(addr).Plan(ifi.MTU, 0)
	if err != nil {
		return err
	}
	if c.json {
		return show.JSON(w, p)
	}
	_, err = p.WriteTo(w)
	return err
}
