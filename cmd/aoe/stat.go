package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/engine"
)

func newStat() *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "stat [ADDRESS|DEVICE...]",
		Short: "Show the disks attached on this machine, and how they are",
		Long: `Print a line for each attached disk: its address, size in billions of bytes,
interface, state and device. The columns are those of aoe-stat(8).

A state other than up is followed by the reason, and since when. With --verbose,
counters follow:
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
		if errors.Is(err, rundir.ErrNotAttached) && len(names) == 0 {
			continue // detached since it was listed
		}
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
			state += " (" + s.Reason + since(s) + ")"
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

// since is from when on the disk has been how it is, if that is known.
func since(s rundir.Status) string {
	if s.Stats == nil || s.Stats.State.Why == "" {
		return ""
	}
	return ", since " + s.Stats.State.Since.Format(time.DateTime)
}

// printStatus prints everything about one disk.
func printStatus(w io.Writer, s rundir.Status) error {
	if _, err := fmt.Fprintln(w, s.Addr, "on", s.Interface); err != nil {
		return err
	}
	t := show.NewTable("", "")
	t.Row("  device", fmt.Sprintf("%s via %s, %s", s.Device, s.Via, access(s.ReadOnly)))
	t.Row("  attached", fmt.Sprintf("since %s by process %d", s.Since.Format(time.DateTime), s.PID))
	t.Row("  disk", fmt.Sprintf("%s, serial %s, %s", s.Model, s.Serial, show.Gigabytes(s.SizeBytes)))
	t.Row("  state", strings.TrimSpace(s.State+" "+s.Reason))
	kernelRows(t, s.Kernel)
	if st := s.Stats; st != nil {
		detailRows(t, st)
	}
	guaranteeRows(t, s)
	if st := s.FUSE; st != nil {
		t.Row("  device I/O", fmt.Sprintf("%d reads, %d writes, %d flushes, %d trims, %d zeroed, %d errors",
			st.Reads, st.Writes, st.Flushes, st.Trims, st.Zeroes, st.Errors))
	}
	if st := s.UBLK; st != nil {
		t.Row("  device I/O", fmt.Sprintf("%d reads, %d writes, %d flushes, %d trims, %d zeroed, %d errors",
			st.Reads, st.Writes, st.Flushes, st.Trims, st.Zeroes, st.Errors))
		t.Row("  device data", fmt.Sprintf("%d bytes copied in %d pieces, %d parts waited for memory, woken %d times",
			st.Copied, st.Copies, st.Starved, st.Wakes))
	}
	if st := s.NBD; st != nil {
		t.Row("  NBD", fmt.Sprintf("%d reads, %d writes, %d flushes, %d trims, %d zeroed, %d errors on %d connections",
			st.Reads, st.Writes, st.Flushes, st.Trims, st.Zeroes, st.Errors, st.Connections))
	}
	return t.Print(w)
}

func access(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "read and write"
}

// pathRows are the paths, where there is more than one, or it carries less than
// was agreed on.
func pathRows(t *show.Table, paths []initiator.PathStats, payload int) {
	if len(paths) == 1 && paths[0].Payload >= payload {
		return
	}
	for _, p := range paths {
		to := p.Target.String()
		if p.Target == (frame.MAC{}) {
			to = "nobody yet"
		}
		how := string(p.Condition)
		if p.Why != "" {
			how += " (" + p.Why + ")"
		}
		if p.Since != nil {
			how += ", since " + p.Since.Format(time.DateTime)
		}
		if p.Payload < payload {
			how += fmt.Sprintf(", %d bytes of data in a frame", p.Payload)
		}
		t.Row("  path", fmt.Sprintf("%s to %s: %s; %d in flight, read rttavg %s, write rttavg %s, network rttavg %s", p.Interface, to, how,
			p.InFlight, show.Duration(p.Read.Smooth), show.Duration(p.Write.Smooth), show.Duration(p.Network.Smooth)))
	}
}

// detailRows are the initiator's counters.
func detailRows(t *show.Table, st *initiator.Stats) {
	for _, tr := range st.State.Troubles {
		t.Row("  trouble", fmt.Sprintf("%s, since %s", tr.What, tr.Since.Format(time.DateTime)))
	}
	pathRows(t, st.Paths, st.Payload)
	t.Row("  target", fmt.Sprintf("%s, %d bytes of data in a frame", st.Target, st.Payload))
	t.Row("  requests", fmt.Sprintf("%d, %d failed, %d waited for an overlapping one", st.Requests, st.Failed, st.Ordered))
	t.Row("  frames", fmt.Sprintf("%d sent, %d of them again (%d in vain), %d kept, %d freed at once",
		st.Sent, st.Retransmitted, st.Spurious, st.Answered, st.Drops.Sum()))
	t.Row("  losses", fmt.Sprintf("%d noticed by later answers, %d by timers; window cut %d times; %d writes held back by a fence (%d fences, %d up)",
		st.Fast, st.Timeouts, st.WindowCuts, st.Fenced, st.Fences, st.FencesUp))
	if st.Forgotten > 0 {
		t.Row("  forgotten", fmt.Sprintf("%d flushes came after the target had lost what it had not flushed", st.Forgotten))
	}
	t.Row("  window", fmt.Sprintf("%d of %d in flight; the target holds %d", st.InFlight, st.Window, st.Buffers))
	for _, g := range []struct {
		name  string
		gauge engine.Gauge
	}{{"read", st.Read}, {"write", st.Write}, {"flush", st.Flush}, {"network", st.Network}} {
		if g.gauge.Samples > 0 {
			t.Row("  "+g.name, fmt.Sprintf("rttavg %s, least %s, most %s, timeout %s", show.Duration(g.gauge.Smooth),
				show.Duration(g.gauge.Least), show.Duration(g.gauge.Most), show.Duration(g.gauge.Timeout)))
		}
	}
	r := st.Reserve
	t.Row("  memory", fmt.Sprintf("%s; %s mapped, %d buffers reserved, %d free, %d at the least",
		r.Regime, show.Bytes(int64(r.MappedBytes)), r.Reserve, r.FreeReserve, r.ReserveLow))
	t.Row("  admission", fmt.Sprintf("%d admitted, %d waited, %d from the reserve",
		r.Admitted, r.Waited, r.FromReserve))
	t.Row("  regime", fmt.Sprintf("%s; %d times into crunch, %d times back; normal allocation failed %d times, %d of them to map memory; pressure %v",
		r.Regime, r.ToCrunch, r.ToNormal, r.NormalFailures, r.GrowthFailures, r.Pressure))
	l := st.Link
	t.Row("  interface", fmt.Sprintf("%d received, %d sent, dropped: %d by the kernel, %d too long, %d sending; down %d times",
		l.Received, l.Sent, l.KernelDropped, l.Truncated, l.SendDropped, l.Flaps))
}
