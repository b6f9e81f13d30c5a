package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	protocol "github.com/mdlayher/aoe"
	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/seek"
	"aoe/frame"
	"aoe/initiator"
)

func newReserve() *cobra.Command {
	var o oneDisk
	cmd := &cobra.Command{
		Use:   "reserve [-i INTERFACE...] ADDRESS [read | set|force [MAC...]]",
		Short: "Read or set the list of MACs that a disk is reserved for",
		Long: `A disk can be reserved: it refuses commands (but not the question what it is) of
MACs that are not on its list. Unlike a mask, the refusal is an answer.

  read           print the list, a MAC a line; the default
  set [MAC...]   reserve it, if it is not reserved, or for this MAC too
  force [MAC...] reserve it, whoever it is reserved for

Without MACs, it is reserved for the interface that it was found on, which can be
named "self" among others. ` + "`aoe release`" + ` ends a reservation. A MAC is no password:
anyone on the segment can force a reservation.

EXIT STATUS
  0  done
  1  something failed
  2  the command line was not understood
  3  nobody answered
  4  refused: the disk is reserved for others`,
		Example: `  aoe reserve e1.1
  aoe reserve -i eth0 e1.1 set
  aoe reserve -i eth0 e1.1 set self 02:00:00:00:00:07
  aoe reserve -i eth0 e1.1 force`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			sub, macs := protocol.ReserveReleaseCommandRead, []string(nil)
			if len(args) > 1 {
				switch macs = args[2:]; args[1] {
				case "read":
					if len(macs) > 0 {
						return exit.Usagef("read takes no MACs")
					}
				case "set":
					sub = protocol.ReserveReleaseCommandSet
				case "force":
					sub = protocol.ReserveReleaseCommandForceSet
				default:
					return exit.Usagef("%q: want read, set or force", args[1])
				}
			}
			if sub != protocol.ReserveReleaseCommandRead && len(macs) == 0 {
				macs = []string{"self"}
			}
			got, err := setReserve(ctx, o, args[0], sub, macs)
			if err != nil {
				return err
			}
			return got.print(cmd.OutOrStdout(), o.json, "not reserved")
		},
	}
	o.flags(cmd)
	return cmd
}

func newRelease() *cobra.Command {
	var o oneDisk
	var force bool
	cmd := &cobra.Command{
		Use:   "release [-i INTERFACE...] ADDRESS",
		Short: "End the reservation of a disk",
		Long: `Empty the list of MACs that a disk is reserved for, see ` + "`aoe reserve`" + `. A disk that
is reserved for others refuses, unless --force is given.

EXIT STATUS
  0  the disk is not reserved
  1  something failed
  2  the command line was not understood
  3  nobody answered
  4  refused: the disk is reserved for others`,
		Example: `  aoe release -i eth0 e1.1
  aoe release -i eth0 --force e1.1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			sub := protocol.ReserveReleaseCommandSet
			if force {
				sub = protocol.ReserveReleaseCommandForceSet
			}
			got, err := setReserve(ctx, o, args[0], sub, nil)
			if err != nil {
				return err
			}
			return got.print(cmd.OutOrStdout(), o.json, "not reserved")
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "even if it is reserved for others")
	return cmd
}

// setReserve finds the disk and sends it the list.
func setReserve(ctx context.Context, o oneDisk, name string, sub protocol.ReserveReleaseCommand, texts []string) (macList, error) {
	d, err := o.find(ctx, name)
	if err != nil {
		return macList{}, err
	}
	defer d.Close()
	got := macList{Addr: d.Addr, Interface: d.Interface, Target: d.MAC, Own: d.Link.State().MAC}
	var macs []frame.MAC
	for _, text := range texts {
		mac, err := macOrSelf(text, got.Own)
		if err != nil {
			return got, err
		}
		macs = append(macs, mac)
	}
	err = o.ask(ctx, func(ctx context.Context) error {
		got.MACs, err = initiator.ReserveList(ctx, d.Link, d.Target, sub, macs...)
		return err
	})
	if e, ok := errors.AsType[*initiator.TargetError](err); ok && e.Code == protocol.ErrorTargetIsReserved {
		err = exit.With(exit.InUse, fmt.Errorf("%s is reserved for %s: only they may change that, or who forces it", d.Addr, o.holders(ctx, d)))
	}
	return got, editError(err)
}

// holders tells for whom the disk is reserved.
func (o *oneDisk) holders(ctx context.Context, d *seek.Disk) string {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	macs, err := initiator.ReserveList(ctx, d.Link, d.Target, protocol.ReserveReleaseCommandRead)
	if err != nil || len(macs) == 0 {
		return "others"
	}
	var names []string
	for _, m := range macs {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}
