package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/ping"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
)

// A pingConfig is the command line of aoe ping.
type pingConfig struct {
	ifname, linkKind  string
	count             int
	interval, timeout time.Duration
	identify          bool
	json              bool
}

func newPing() *cobra.Command {
	var c pingConfig
	cmd := &cobra.Command{
		Use:   "ping -i INTERFACE ADDRESS",
		Short: "Ask a disk whether it is there, and measure the round trip",
		Long: `Send query config requests to a disk, one at a time, and print each answer and
statistics of the round trips. A query config needs no disk, so this measures the
network and the target's code.

With --identify the disk is asked what it is, too (ATA IDENTIFY DEVICE).

EXIT STATUS
  0  at least one request was answered
  1  something failed
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe ping -i eth0 e1.1
  aoe ping -i eth0 -c 1 --identify e1.1
  aoe ping -i eth0 -c 100 --interval 10ms e1.1 --json | jq .summary`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := parseAddr(args[0])
			if err != nil {
				return err
			}
			return c.run(cmd, addr)
		},
	}
	f := cmd.Flags()
	interfaceFlag(f, &c.ifname)
	linkFlag(f, &c.linkKind)
	f.IntVarP(&c.count, "count", "c", 0, "requests to send (default until interrupted)")
	f.DurationVar(&c.interval, "interval", time.Second, "time between requests; 0 sends the next one at once")
	f.DurationVarP(&c.timeout, "timeout", "s", time.Second, "time to wait for each answer")
	f.BoolVarP(&c.identify, "identify", "I", false, "print what the disk says that it is")
	f.BoolVar(&c.json, "json", false, "print JSON when done")
	return cmd
}

// pinged is what --json prints.
type pinged struct {
	Addr     frame.Addr      `json:"address"`
	Replies  []ping.Reply    `json:"replies"`
	Summary  ping.Summary    `json:"summary"`
	Identify *frame.Identify `json:"identify,omitempty"`
}

func (c pingConfig) run(cmd *cobra.Command, addr frame.Addr) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	l, err := openLink(c.ifname, c.linkKind)
	if err != nil {
		return err
	}
	defer l.Close()
	if c.interval == 0 {
		c.interval = -1
	}
	out := cmd.OutOrStdout()
	all := pinged{Addr: addr, Replies: []ping.Reply{}}
	all.Summary, err = ping.Run(ctx, ping.Config{
		Link: l, Addr: addr, Count: c.count, Interval: c.interval, Timeout: c.timeout,
	}, func(r ping.Reply) {
		if c.json {
			all.Replies = append(all.Replies, r)
			return
		}
		printReply(out, addr, r)
	})
	if err != nil && !errors.Is(err, ping.ErrNoAnswer) {
		return err
	}
	if c.identify && err == nil && ctx.Err() == nil {
		id, idErr := initiator.Identify(ctx, l, initiator.Target{Addr: addr, MAC: frame.Broadcast})
		if idErr != nil {
			return idErr
		}
		all.Identify = &id
	}
	if c.json {
		return errors.Join(show.JSON(out, all), c.status(all.Summary))
	}
	if all.Identify != nil {
		printIdentify(out, *all.Identify)
	}
	printSummary(out, addr, all.Summary)
	return c.status(all.Summary)
}

// status is NoAnswer without a message: the statistics said it.
func (c pingConfig) status(s ping.Summary) error {
	if s.Answered == 0 {
		return exit.Silent(exit.NoAnswer)
	}
	return nil
}

func printReply(w io.Writer, addr frame.Addr, r ping.Reply) {
	if r.Lost {
		fmt.Fprintf(w, "%s: seq=%d no answer\n", addr, r.Seq)
		return
	}
	fmt.Fprintf(w, "%d bytes from %s (%s): seq=%d time=%s buffers=%d sectors=%d",
		r.Bytes, addr, r.MAC, r.Seq, show.Duration(r.RTT), r.Config.BufferCount, r.Config.MaxSectorsPerFrame())
	if r.Text != "" {
		fmt.Fprintf(w, " config=%q", r.Text)
	}
	fmt.Fprintln(w)
}

func printSummary(w io.Writer, addr frame.Addr, s ping.Summary) {
	fmt.Fprintf(w, "--- %s: %d sent, %d answered", addr, s.Sent, s.Answered)
	if s.Sent > 0 {
		fmt.Fprintf(w, ", %.0f%% lost", 100*float64(s.Sent-s.Answered)/float64(s.Sent))
	}
	if s.Duplicates > 0 {
		fmt.Fprintf(w, ", %d duplicates", s.Duplicates)
	}
	if s.Late > 0 {
		fmt.Fprintf(w, ", %d late", s.Late)
	}
	fmt.Fprintln(w)
	if s.Answered > 0 {
		fmt.Fprintf(w, "rtt min/avg/max/mdev %s/%s/%s/%s\n",
			show.Duration(s.Min), show.Duration(s.Mean), show.Duration(s.Max), show.Duration(s.Deviation))
	}
}

func printIdentify(w io.Writer, id frame.Identify) {
	t := show.NewTable("", "")
	t.Row("model", id.Model)
	t.Row("serial", id.Serial)
	t.Row("firmware", id.Firmware)
	t.Row("size", fmt.Sprintf("%s (%d sectors)", show.Gigabytes(int64(id.Sectors)*frame.SectorSize), id.Sectors))
	t.Row("write cache", yesNo(id.WriteCache))
	t.Row("flush", yesNo(id.Flush || id.FlushExt))
	t.Row("trim", yesNo(id.Trim))
	_ = t.Print(w) // what is behind it on the same stream will tell of an error
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
