package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/pcap"
	"aoe/cmd/internal/show"
	"aoe/cmd/internal/trace"
	"aoe/frame"
)

// A traceConfig is the command line of aoe trace.
type traceConfig struct {
	ifname, read, write string
	addr                frame.Addr
	count               int
	quiet, json         bool
}

func newTrace() *cobra.Command {
	var c traceConfig
	cmd := &cobra.Command{
		Use:   "trace (-i INTERFACE | --read FILE) [ADDRESS]",
		Short: "Print the AoE frames that pass, and how long each request takes",
		Long: `Print a line for each AoE frame on an interface, both directions, or in a capture
file (pcap or pcapng; - is the standard input), and a summary when interrupted or
at the end. ADDRESS, which may hold wildcards, restricts all that to some disks.

A line begins with the time since the first frame in seconds. Behind an answer
stands how long it took, and, if the request was sent more than once, how long it
was waited for altogether; behind a request that is sent again, how often it was.
Most initiators do that with another tag: the same command for the same sectors
counts as the same request while it is unanswered.

The summary has a line for each command: requests, answered, sent again, never
answered, refused or failed, and quantiles of the time from the first sending to
the first answer. With --json, each frame is an object on a line of its own, and
the summary, {"summary": ...}, the last.

EXIT STATUS
  0  printed
  1  something failed
  2  the command line was not understood
  3  there was no AoE frame`,
		Example: `  aoe trace -i eth0
  aoe trace -i eth0 -q 'e1.*'
  aoe trace -i eth0 --write run.pcap --count 1000
  aoe trace --read run.pcapng --json | jq 'select(.sent > 1)'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.addr = frame.Anywhere
			if len(args) == 1 {
				var err error
				if c.addr, err = frame.ParseAddr(args[0]); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			if (c.ifname == "") == (c.read == "") {
				return exit.Usagef("what to look at: -i INTERFACE or --read FILE")
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return c.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), func() {
				fmt.Fprintf(cmd.ErrOrStderr(), "tracing %s; Ctrl-C ends with a summary\n", c.ifname)
			})
		},
	}
	f := cmd.Flags()
	interfaceFlag(f, &c.ifname)
	f.StringVarP(&c.read, "read", "r", "", "read this capture `FILE`")
	f.StringVarP(&c.write, "write", "w", "", "write the frames to this pcap `FILE` too")
	f.IntVarP(&c.count, "count", "c", 0, "stop after so many frames")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "only the summary")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

// errEnough ends a trace that has counted as many frames as it was to.
var errEnough = errors.New("enough")

func (c traceConfig) run(ctx context.Context, in io.Reader, out io.Writer, ready func()) (err error) {
	tracer, save := trace.NewTracker(c.addr), func(pcap.Frame) error { return nil }
	if c.write != "" {
		f, err := os.Create(c.write)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w, err := pcap.NewWriter(f)
		if err != nil {
			return err
		}
		save = w.Write
	}
	var first time.Time
	seen := 0
	missed, err := c.frames(ctx, in, ready, func(f pcap.Frame) error {
		e, ok := tracer.Add(f.Time, f.Data, f.Length)
		if !ok {
			return nil
		}
		if seen++; seen == 1 {
			first = f.Time
		}
		if err := save(f); err != nil {
			return err
		}
		if err := c.print(out, e, first); err != nil {
			return err
		}
		if seen == c.count {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if err := c.printSummary(out, tracer.Summary(), missed); err != nil {
		return err
	}
	if seen == 0 {
		return exit.With(exit.NoAnswer, errors.New("there was no AoE frame"))
	}
	return nil
}

// frames hands f all frames, and tells how many are missing.
func (c traceConfig) frames(ctx context.Context, in io.Reader, ready func(), f func(pcap.Frame) error) (missed uint64, err error) {
	if c.ifname != "" {
		return trace.Listen(ctx, c.ifname, ready, f)
	}
	if c.read != "-" {
		file, err := os.Open(c.read)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		in = file
	}
	r, err := pcap.NewReader(in)
	for err == nil && ctx.Err() == nil {
		var next pcap.Frame
		if next, err = r.Next(); err == nil {
			err = f(next)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return 0, err
}

func (c traceConfig) print(w io.Writer, e trace.Event, first time.Time) error {
	if c.quiet {
		return nil
	}
	if c.json {
		return json.NewEncoder(w).Encode(e)
	}
	line := fmt.Sprintf("%11.6f  %s", e.Time.Sub(first).Seconds(), e.Text)
	switch {
	case e.Stray:
		line += "  stray"
	case e.Answer:
		line += "  " + show.Duration(e.Latency)
		if e.Waited > e.Latency {
			line += ", waited " + show.Duration(e.Waited)
		}
	case e.Sent > 1:
		line += fmt.Sprintf("  sent %d times", e.Sent)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// summaryLine is the last line of --json.
type summaryLine struct {
	Summary trace.Summary `json:"summary"`
	Missed  uint64        `json:"missed"` // came faster than they were read
}

func (c traceConfig) printSummary(w io.Writer, s trace.Summary, missed uint64) error {
	if c.json {
		return json.NewEncoder(w).Encode(summaryLine{s, missed})
	}
	fmt.Fprintf(w, "--- %d frames, %s bytes in %s; %d malformed, %d stray answers\n",
		s.Frames, show.Count(s.Bytes), show.Duration(s.Last.Sub(s.First)), s.Malformed, s.Stray)
	if missed > 0 {
		fmt.Fprintf(w, "%d frames came faster than they were read: they are missing, and some counts below are wrong\n", missed)
	}
	if len(s.Kinds) == 0 {
		return nil
	}
	t := show.NewTable("command", ">requests", ">answered", ">again", ">unanswered", ">failed", ">min", ">p50", ">p90", ">p99", ">max")
	n := func(v uint64) string { return fmt.Sprint(v) }
	for _, k := range s.Kinds {
		row := []string{k.Name, n(k.Requests), n(k.Answered), n(k.Again), n(k.Unanswered), n(k.Failed)}
		for _, d := range []time.Duration{k.Min, k.P50, k.P90, k.P99, k.Max} {
			text := "-"
			if k.Answered > 0 {
				text = show.Duration(d)
			}
			row = append(row, text)
		}
		t.Row(row...)
	}
	return t.Print(w)
}
