package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/control"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/target"
)

// aTarget is the flags of all commands that ask a target of this machine.
type aTarget struct {
	which string
	json  bool
}

func (o *aTarget) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVarP(&o.which, "target", "t", "", "name or process id of the target (default the one that serves ADDRESS, or the only one)")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// find is the target that is meant, by what it serves if it has no name.
func (o *aTarget) find(ctx context.Context, addr *frame.Addr) (*control.Client, error) {
	c, err := control.Find(ctx, rundir.Default(), o.which, addr)
	return c, targetError(err)
}

// findDisk is the disk that a command names, and its target.
func (o *aTarget) findDisk(ctx context.Context, name string) (*control.Client, frame.Addr, error) {
	addr, err := parseAddr(name)
	if err != nil {
		return nil, addr, err
	}
	c, err := o.find(ctx, &addr)
	return c, addr, err
}

// targetError gives an answer of a target, or its absence, the status for it.
func targetError(err error) error {
	switch {
	case errors.Is(err, control.ErrNoTarget), errors.Is(err, context.DeadlineExceeded):
		return exit.With(exit.NoAnswer, err)
	case errors.Is(err, control.ErrConflict):
		return exit.With(exit.InUse, err)
	case errors.Is(err, control.ErrAmbiguous):
		return exit.With(exit.Usage, err)
	}
	return err
}

// targetStatuses is the end of the help of commands that ask a target.
const targetStatuses = `

EXIT STATUS
  0  done
  1  something failed, or there is no such disk
  2  the command line was not understood, or several targets could be meant
  3  no such target is running, or it does not answer
  4  refused: the disk is reserved, has a config string, or its address is taken`

func newTarget() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "target",
		Short: "Look at, and change, what aoe serve serves on this machine",
		Long: `Every aoe serve has a control socket in the run directory (/run/aoe), which only
root and the user who started it may use. Through it disks are listed, added,
removed and resized while they are used, and edited in the words that the wire has
for that, whatever --wire-edits forbids there.

What is changed here lasts: settings as long as aoe serve has --state, or else
until it ends; disks and sizes until it ends, or its file says otherwise.` + targetStatuses,
		Example: `  aoe target list
  aoe target add e1.3 /srv/three.img mode=flush buffers=128
  aoe target mask e1.3 +02:00:00:00:00:0a
  truncate -s 20G /srv/three.img && aoe target resize e1.3 20G
  aoe target remove e1.3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.Usagef("there is no command %q of aoe target", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTargetList(), newTargetStat(), newTargetAdd(), newTargetRemove(), newTargetResize(),
		newTargetMask(), newTargetReserve(), newTargetRelease(), newTargetConfig(), newTargetReload())
	return cmd
}

func newTargetList() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "list [ADDRESS...]",
		Short: "Print the disks that are served: address, size, interfaces, state, what they are made of",
		Long: `Print a line for each disk: its address, size in billions of bytes, the interfaces
that it is served on, its state, and what it is made of, after the name of its
target if several run. It is up, down while no interface is, or failed when a sync
has: then it refuses writes until it is removed and added.` + targetStatuses,
		Example: "  aoe target list\n  aoe target list --json | jq '.[].disks[].addr'",
		RunE:    o.showing(printTargets),
	})
}

func newTargetStat() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "stat [ADDRESS...]",
		Short: "Print what is counted of disks and interfaces",
		Long: `Print two tables, of disks and of interfaces, since they were added. SYNC is the
average time of a sync, ERRORS counts calls of the store that failed, UNSERVED
requests that were refused, masked, copies, or found no buffer, and HELD is how
many of the disk's buffers are in use. DROPPED counts frames that found no room or
could not be sent, OTHER those for nobody here. --json has every counter, as
aoe serve --metrics has for Prometheus.` + targetStatuses,
		Example: "  aoe target stat e1.1\n  aoe target stat --json | jq '.[].stats.disks[].syncs'",
		RunE:    o.showing(printCounters),
	})
}

func newTargetReload() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "reload",
		Short: "Have a target read its file again, as SIGHUP does, and say what became of it",
		Long: `Have aoe serve --config read its file again. Disks and interfaces that stand there
as before are not disturbed; length, mask, config string and wire-edits of a disk
change while it is used, and for all else it is served anew. A file with a mistake
changes nothing.` + targetStatuses,
		Example: "  aoe target reload\n  aoe target reload --target lab",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.find(cmd.Context(), nil)
			if err != nil {
				return err
			}
			n, err := c.Reload(cmd.Context())
			if err != nil {
				return targetError(err)
			}
			if o.json {
				return show.JSON(cmd.OutOrStdout(), n)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "disks: %d added, %d changed, %d served anew, %d removed; interfaces: %d added, %d removed\n",
				n.Added, n.Changed, n.ServedAnew, n.Removed, n.LinksAdded, n.LinksRemoved)
			return err
		},
	})
}

// showing is a command that prints what the targets tell of the disks it names.
func (o *aTarget) showing(print func(io.Writer, []control.Status) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		all, err := o.statuses(cmd.Context(), args)
		if err != nil {
			return err
		}
		if o.json {
			return show.JSON(cmd.OutOrStdout(), all)
		}
		return print(cmd.OutOrStdout(), all)
	}
}

// statuses are those of the target that is meant, or of all; with addresses, only
// of these disks, each of which somebody must serve.
func (o *aTarget) statuses(ctx context.Context, names []string) ([]control.Status, error) {
	var want []frame.Addr
	for _, name := range names {
		addr, err := parseAddr(name)
		if err != nil {
			return nil, err
		}
		want = append(want, addr)
	}
	all, err := o.targets(ctx)
	if err != nil || len(want) == 0 {
		return all, err
	}
	found := map[frame.Addr]bool{}
	for i := range all {
		st := &all[i]
		st.Disks = slices.DeleteFunc(st.Disks, func(e inventory.Entry) bool { return !slices.Contains(want, e.Addr) })
		st.Stats.Disks = slices.DeleteFunc(st.Stats.Disks, func(d target.DiskStats) bool { return !slices.Contains(want, d.Addr) })
		for _, d := range st.Stats.Disks {
			found[d.Addr] = true
		}
	}
	for _, addr := range want {
		if !found[addr] {
			return nil, fmt.Errorf("%s: %w", addr, target.ErrNoDisk)
		}
	}
	return slices.DeleteFunc(all, func(st control.Status) bool { return len(st.Disks) == 0 }), nil
}

func (o *aTarget) targets(ctx context.Context) ([]control.Status, error) {
	if o.which == "" {
		all, err := control.List(ctx, rundir.Default())
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("%w: start one with aoe serve", control.ErrNoTarget)
		}
		return all, targetError(err)
	}
	c, err := o.find(ctx, nil)
	if err != nil {
		return nil, err
	}
	st, err := c.Status(ctx)
	return []control.Status{st}, targetError(err)
}

func printTargets(w io.Writer, all []control.Status) error {
	header := []string{">", ">", "", "", ""}
	if len(all) > 1 {
		header = append([]string{""}, header...)
	}
	t := show.NewTable(header...)
	for _, st := range all {
		var name []string
		if len(all) > 1 {
			name = []string{st.Name}
		}
		var links []string
		up := false
		for _, l := range st.Stats.Links {
			links = append(links, l.Name)
			up = up || l.Up && l.Ended == ""
		}
		for _, d := range st.Stats.Disks {
			t.Row(append(name, d.Addr.String(), show.Gigabytes(int64(d.Sectors)*frame.SectorSize), strings.Join(links, ","), state(d, up), d.Name)...)
		}
	}
	return t.Print(w)
}

// state is how a disk is, in a word, and why.
func state(d target.DiskStats, up bool) string {
	switch {
	case d.Failed != "":
		return "failed (" + d.Failed + ")"
	case !up:
		return "down"
	}
	return "up"
}

func printCounters(w io.Writer, all []control.Status) error {
	disks := show.NewTable("DISK", ">READS", ">READ", ">WRITES", ">WRITTEN", ">FLUSHES", ">TRIMS", ">SYNCS", ">SYNC", ">ERRORS", ">UNSERVED", ">HELD")
	links := show.NewTable("INTERFACE", "MAC", ">MTU", "STATE", ">RECEIVED", ">SENT", ">DROPPED", ">OTHER")
	for _, st := range all {
		for _, d := range st.Stats.Disks {
			disks.Row(d.Addr.String(), show.Count(d.Reads), show.Bytes(int64(d.ReadBytes)), show.Count(d.Writes), show.Bytes(int64(d.WriteBytes)),
				show.Count(d.Flushes), show.Count(d.Trims), show.Count(d.Syncs), show.Duration(d.SyncTimes.Mean()),
				show.Count(d.ReadErrors+d.WriteErrors+d.FlushErrors+d.SyncErrors+d.KeepErrors+d.SizeErrors),
				show.Count(d.Refused+d.Aborted+d.Masked+d.Copies+d.LateCopies+d.Overflow), fmt.Sprintf("%d/%d", d.Held, d.Buffers))
		}
		for _, l := range st.Stats.Links {
			how := "up"
			switch {
			case l.Ended != "":
				how = "failed (" + l.Ended + ")"
			case !l.Up:
				how = "down"
			}
			links.Row(l.Name, l.MAC.String(), fmt.Sprint(l.MTU), how, show.Count(l.Link.Received), show.Count(l.Link.Sent),
				show.Count(l.Link.KernelDropped+l.Link.Truncated+l.Link.SendDropped+l.Limited), show.Count(l.Foreign+l.Runts+l.Forged+l.Misdirected+l.NoDisk))
		}
	}
	if err := disks.Print(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return links.Print(w)
}
