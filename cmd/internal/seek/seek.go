// Package seek finds the one disk that a command is about, on whichever
// interface it answers, and makes sure that it is one: a command that edits or
// overwrites must not meet another disk of the same address (H15).
//
// [One] opens the interfaces, and leaves open the one of the [Disk] it returns,
// which is the caller's to close.
package seek

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator"
)

// DefaultWait is time for four requests, should some be lost.
const DefaultWait = 2 * time.Second

// grace is how long other interfaces are given to answer after the first did.
const grace = 250 * time.Millisecond

// A Config says which disk is sought, and where.
type Config struct {
	Interfaces []string                             // where to ask
	Open       func(name string) (link.Link, error) // opens one of them
	Addr       frame.Addr                           // no wildcard
	MAC        frame.MAC                            // of the target's port; zero means any
	Wait       time.Duration                        // for an answer; zero or negative means DefaultWait
}

// A Disk is the disk that was found, at one port of its target.
type Disk struct {
	Interface string
	Link      link.Link
	initiator.Target
}

// Close closes the link.
func (d *Disk) Close() error { return d.Link.Close() }

// One finds the disk. The errors are those of Open, initiator.ErrNoAnswer, and
// initiator.ErrAmbiguous when disks with different serial numbers answer.
func One(ctx context.Context, cfg Config) (*Disk, error) {
	if cfg.Wait <= 0 {
		cfg.Wait = DefaultWait
	}
	ports, err := cfg.everywhere(ctx)
	if err == nil {
		err = cfg.same(ctx, ports)
	}
	var one *Disk
	for _, p := range ports {
		if one == nil && err == nil && len(p.targets) > 0 {
			one = &Disk{p.name, p.link, p.targets[0]}
			continue
		}
		p.link.Close()
	}
	if err == nil && one == nil {
		err = fmt.Errorf("%s: %w on %s%s", cfg.Addr, initiator.ErrNoAnswer, strings.Join(cfg.Interfaces, ", "), cfg.only())
	}
	if err != nil {
		return nil, err
	}
	return one, nil
}

// only tells of a MAC that others are not asked for.
func (c Config) only() string {
	if c.MAC == (frame.MAC{}) {
		return ""
	}
	return " with MAC " + c.MAC.String()
}

// A port is an interface and who answered there.
type port struct {
	name    string
	link    link.Link
	targets []initiator.Target
}

// everywhere asks on all interfaces at once, and stops a little after the first
// answer. An interface that cannot be used matters only if no other can.
func (c Config) everywhere(ctx context.Context) ([]port, error) {
	asking, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	ports, errs := make([]port, len(c.Interfaces)), make([]error, len(c.Interfaces))
	var first sync.Once
	var wg sync.WaitGroup
	for i, name := range c.Interfaces {
		wg.Go(func() {
			l, err := c.Open(name)
			if err != nil {
				errs[i] = err
				return
			}
			ports[i] = port{name: name, link: l}
			found, err := initiator.Discover(asking, l, c.Addr)
			if err != nil && asking.Err() == nil {
				errs[i] = fmt.Errorf("on %s: %w", name, err)
			}
			if c.MAC != (frame.MAC{}) {
				found = slices.DeleteFunc(found, func(t initiator.Target) bool { return t.MAC != c.MAC })
			}
			if ports[i].targets = found; len(found) > 0 {
				first.Do(func() { time.AfterFunc(grace, cancel) })
			}
		})
	}
	wg.Wait()
	ports = slices.DeleteFunc(ports, func(p port) bool { return p.link == nil })
	answered := slices.ContainsFunc(ports, func(p port) bool { return len(p.targets) > 0 })
	switch {
	case ctx.Err() != nil:
		return ports, ctx.Err()
	case answered:
		return ports, nil
	}
	return ports, errors.Join(errs...)
}

// same asks all that answered who they are, if there are several.
func (c Config) same(ctx context.Context, ports []port) error {
	n := 0
	for _, p := range ports {
		n += len(p.targets)
	}
	if n < 2 {
		return nil
	}
	var who []string
	serials := map[string]bool{}
	for _, p := range ports {
		for _, t := range p.targets {
			asking, cancel := context.WithTimeout(ctx, c.Wait)
			id, err := initiator.Identify(asking, p.link, t)
			cancel()
			if err != nil {
				return fmt.Errorf("several ports answer for %s, and %s does not say which disk it is: %w: name a port with --mac", c.Addr, t.MAC, err)
			}
			serials[id.Serial] = true
			who = append(who, fmt.Sprintf("serial %q at %s on %s", id.Serial, t.MAC, p.name))
		}
	}
	if len(serials) > 1 {
		return fmt.Errorf("%s: %w: %s: name one with --mac", c.Addr, initiator.ErrAmbiguous, strings.Join(who, "; "))
	}
	return nil
}
