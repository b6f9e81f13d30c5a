package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
)

func newStat() *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "stat [ADDRESS|DEVICE...]",
		Short: "Show the disks attached on this machine, and how they are",
		Long: `Print a line for each attached disk: its address, size in billions of bytes,
interface, state and device. The columns are those of aoe-stat(8).

A state other than up is followed by the reason. With --verbose, counters follow:
frames and requests, retransmissions, round trips, the memory reserve and its
regime (normal, or crunch when ordinary allocation fails), and how few buffers of
the reserve were ever free.

EXIT STATUS
  0  printed, also when there was nothing to print
  1  something failed, or a disk that was asked for is not attached
  2  the command line was not understood`,
		Example: `  aoe stat
  aoe stat -v e1.1
  aoe stat --json | jq '.[].state'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := statuses(cmd.Context(), rundir.Default(), args)
			if err != nil {
				return err
			}
			if asJSON {
				return show.JSON(cmd.OutOrStdout(), all)
			}
			return printStatuses(cmd.OutOrStdout(), all, verbose)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all counters")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print counters too")
	return cmd
}

// statuses asks for the named disks, or for all.
func statuses(ctx context.Context, dir rundir.Dir, names []string) ([]rundir.Status, error) {
	all := []rundir.Status{}
	var addrs []frame.Addr
	for _, name := range names {
		addr, err := dir.Find(ctx, name)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	if len(names) == 0 {
		var err error
		if addrs, err = dir.List(); err != nil {
			return nil, err
		}
	}
	for _, addr := range addrs {
		s, err := dir.Status(ctx, addr)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func printStatuses(w io.Writer, all []rundir.Status, verbose bool) error {
	t := show.NewTable(">", ">", ">", "", "")
	for _, s := range all {
		size, state := show.Gigabytes(s.SizeBytes), s.State
		if s.SizeBytes == 0 {
			size = "(NA)"
		}
		if s.Reason != "" {
			state += " (" + s.Reason + ")"
		}
		t.Row(s.Addr.String(), size, s.Interface, state, s.Device)
	}
	if !verbose {
		return t.Print(w)
	}
	for _, s := range all {
		if err := printStatus(w, s); err != nil {
			return err
		}
	}
	return nil
}

// printStatus prints everything about one disk.
func printStatus(w io.Writer, s rundir.Status) error {
	t := show.NewTable("", "")
	t.Row("device", s.Device+" via "+s.Via)
	t.Row("size", show.Gigabytes(s.SizeBytes))
	t.Row("state", s.State+" "+s.Reason)
	t.Row("attached", fmt.Sprintf("since %s by process %d", s.Since.Format(time.DateTime), s.PID))
	if _, err := fmt.Fprintln(w, s.Addr, "on", s.Interface); err != nil {
		return err
	}
	return t.Print(w)
}
