package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
)

// A discoverConfig is the command line of aoe discover.
type discoverConfig struct {
	interfaces []string
	linkKind   string
	wait       time.Duration
	quick      bool
	json       bool
}

// A found is one disk at one MAC on one interface.
type found struct {
	Interface string `json:"interface"`
	initiator.Target
	Identify *frame.Identify `json:"identify,omitempty"`
	Error    string          `json:"error,omitempty"` // why there is no Identify
}

func newDiscover() *cobra.Command {
	var c discoverConfig
	cmd := &cobra.Command{
		Use:   "discover [-i INTERFACE...] [ADDRESS]",
		Short: "List the disks on the segment",
		Long: `Ask everybody on the segment which disks there are, and each disk what it is.
ADDRESS may hold wildcards: e7.* is every disk of shelf 7; e*.* is the default.
Without -i, all Ethernet interfaces that are up are asked.

A line for each disk and port: address, size in billions of bytes, interface, MAC
of the target, its buffer count (frames that it can hold, for all initiators
together), the most sectors in a frame, and the config string.

EXIT STATUS
  0  at least one disk was found
  1  something failed
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe discover
  aoe discover -i eth0 'e7.*'
  aoe discover --json | jq -r '.[].address'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr := frame.Anywhere
			if len(args) == 1 {
				var err error
				if addr, err = frame.ParseAddr(args[0]); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			all, err := c.discover(ctx, addr)
			if err != nil {
				return err
			}
			if c.json {
				err = show.JSON(cmd.OutOrStdout(), all)
			} else {
				err = printFound(cmd.OutOrStdout(), all)
			}
			if err == nil && len(all) == 0 {
				return exit.With(exit.NoAnswer, errors.New("nobody answered"))
			}
			return err
		},
	}
	f := cmd.Flags()
	interfacesFlag(f, &c.interfaces)
	linkFlag(f, &c.linkKind)
	f.DurationVar(&c.wait, "wait", initiator.DiscoverTime, "how long to wait for answers")
	f.BoolVarP(&c.quick, "quick", "q", false, "do not ask the disks what they are: no sizes")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

// discover asks on all interfaces at once.
func (c discoverConfig) discover(ctx context.Context, addr frame.Addr) ([]found, error) {
	names := c.interfaces
	if len(names) == 0 {
		var err error
		if names, err = ethernets(); err != nil {
			return nil, err
		}
	}
	results, errs := make([][]found, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i], errs[i] = c.on(ctx, name, addr) })
	}
	wg.Wait()
	all := slices.Concat(results...)
	slices.SortStableFunc(all, func(a, b found) int {
		switch {
		case a.Addr.Less(b.Addr):
			return -1
		case b.Addr.Less(a.Addr):
			return 1
		}
		return 0
	})
	if all == nil {
		all = []found{} // JSON's []
	}
	return all, errors.Join(errs...)
}

// identifyTime bounds the question to one disk.
const identifyTime = time.Second

// on asks on one interface.
func (c discoverConfig) on(ctx context.Context, name string, addr frame.Addr) ([]found, error) {
	l, err := openLink(name, c.linkKind)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	asking, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	targets, err := initiator.Discover(asking, l, addr)
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", name, err)
	}
	var all []found
	for _, t := range targets {
		one := found{Interface: name, Target: t}
		if !c.quick {
			asking, cancel := context.WithTimeout(ctx, identifyTime)
			id, err := initiator.Identify(asking, l, t)
			cancel()
			if err != nil {
				one.Error = err.Error()
			} else {
				one.Identify = &id
			}
		}
		all = append(all, one)
	}
	return all, ctx.Err()
}

func printFound(w io.Writer, all []found) error {
	t := show.NewTable(">", ">", "", "", "", "", "")
	for _, d := range all {
		size, note := "(NA)", ""
		if d.Identify != nil {
			size = show.Gigabytes(int64(d.Identify.Sectors) * frame.SectorSize)
		}
		if d.ConfigString != "" {
			note = fmt.Sprintf("%q", d.ConfigString)
		}
		if d.Error != "" {
			note += " (" + d.Error + ")"
		}
		t.Row(d.Addr.String(), size, d.Interface, d.MAC.String(),
			fmt.Sprintf("%d buffers", d.BufferCount), fmt.Sprintf("%d sectors", d.MaxSectors), note)
	}
	return t.Print(w)
}
