package main

import (
	"errors"
	"slices"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/hold"
	"aoe/frame"
	"aoe/initiator/engine"
)

// useInterfaces checks what -i names.
func (c *attachConfig) useInterfaces() error {
	if len(c.interfaces) == 0 {
		return nil // whoever needs one says so
	}
	if len(c.interfaces) > engine.MaxPaths {
		return exit.Usagef("%d interfaces: at most %d", len(c.interfaces), engine.MaxPaths)
	}
	for i, name := range c.interfaces {
		if slices.Contains(c.interfaces[:i], name) {
			return exit.Usagef("interface %s is named twice", name)
		}
	}
	c.ifname = c.interfaces[0]
	return nil
}

// others are the interfaces after the first.
func (c *attachConfig) others() []string {
	if len(c.interfaces) == 0 {
		return nil
	}
	return c.interfaces[1:]
}

// openOthers opens the interfaces after the first, each with a filter of its own
// if there may be one. AF_XDP and the guard are the first one's only.
func (c *attachConfig) openOthers(addr frame.Addr) (all []hold.Port, err error) {
	for _, name := range c.others() {
		one := *c
		one.ifname = name
		l, k, err := one.openFiltered(addr)
		if err != nil {
			for _, p := range all {
				err = errors.Join(err, p.Close())
			}
			return nil, err
		}
		all = append(all, hold.Port{Link: l, Table: k.Table})
	}
	return all, nil
}
