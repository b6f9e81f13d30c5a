package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/sancheck"
	"aoe/cmd/internal/show"
	"aoe/frame/link"
	"aoe/initiator"
)

func newSancheck() *cobra.Command {
	var c discoverConfig
	cmd := &cobra.Command{
		Use:   "sancheck [-i INTERFACE...]",
		Short: "Check the paths between this machine and the disks on the segment",
		Long: `Like aoe-sancheck(8), print the interfaces (name, status, MTU, PCI ID), then the
disks: address, number of ports, bytes of data that it takes in a frame, and the
interfaces here that see it. The columns are separated by tabs.

Below each stands what is wrong, in words: an interface that is down, an MTU that
is smaller than what the disk takes, interfaces with different MTUs, fewer ports
on one side than on the other, frames that are lost on their way there or back
because of their length, and different disks with one address.

Nothing is written. Each path is tried with questions (IDENTIFY) and reads of
growing length, so a check takes some seconds where frames get lost.

EXIT STATUS
  0  disks were found, and nothing is wrong
  1  something is wrong, or failed
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe sancheck
  aoe sancheck -i eth0 -i eth1
  aoe sancheck --json | jq '.devices[].problems[]'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			names, err := (&oneDisk{interfaces: c.interfaces}).onWhich()
			if err != nil {
				return err
			}
			r, err := sancheck.Check(ctx, sancheck.Config{
				Interfaces: names, Wait: c.wait,
				Open: func(name string) (link.Link, error) { return openLink(name, c.linkKind) },
			})
			if err != nil {
				return err
			}
			if c.json {
				err = show.JSON(cmd.OutOrStdout(), r)
			} else {
				err = printSancheck(cmd.OutOrStdout(), r)
			}
			switch {
			case err != nil:
				return err
			case len(r.Devices) == 0:
				return exit.With(exit.NoAnswer, errors.New("nobody answered"))
			case r.Problems() > 0:
				return exit.Silent(exit.Failed)
			}
			return nil
		},
	}
	f := cmd.Flags()
	interfacesFlag(f, &c.interfaces)
	linkFlag(f, &c.linkKind)
	f.DurationVar(&c.wait, "wait", initiator.DiscoverTime, "how long to wait for answers")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func printSancheck(w io.Writer, r sancheck.Report) error {
	const rule = "=========================================="
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nINTERFACE SUMMARY\n%[1]s\nName\tStatus\tMTU\tPCI ID\n", rule)
	for _, i := range r.Interfaces {
		status := "DOWN"
		if i.Up {
			status = "UP"
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%s\n", i.Name, status, i.MTU, i.PCI)
		for _, p := range i.Problems {
			fmt.Fprintf(&b, "   %s\n", p)
		}
	}
	fmt.Fprintf(&b, "%s\nDEVICE SUMMARY\n%[1]s\nDevice\tMacs\tPayload\tLocal Interfaces\n", rule)
	for _, d := range r.Devices {
		fmt.Fprintf(&b, "%s\t%4d\t%d\t%s\n", d.Addr, d.MACs, d.Payload, strings.Join(d.Local, ","))
		for _, p := range d.Problems {
			fmt.Fprintf(&b, "   %s\n", p)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
