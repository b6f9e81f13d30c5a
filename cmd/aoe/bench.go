package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/bench"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link/open"
	"aoe/initiator"
)

// A benchConfig is the command line of aoe bench.
type benchConfig struct {
	ifname, linkKind string
	poll             pollFlag
	pattern          string
	blockSize, span  sizeFlag
	depth            int
	time             time.Duration
	requests         uint64
	seed             uint64
	destroy          bool
	json             bool
}

func newBench() *cobra.Command {
	c := benchConfig{blockSize: 4096}
	cmd := &cobra.Command{
		Use:   "bench -i INTERFACE ADDRESS",
		Short: "Measure a disk: IOPS, throughput, latency",
		Long: `Keep a number of requests in flight for a while and print how many were answered,
the throughput, percentiles of the latency, frames that had to be sent again, and
the CPU time that a request cost this side.

The requests go straight from the initiator to the network: no block device, no
file system, no copy. fio on an attached device measures those, too.

Writing destroys what is on the disk, and asks for --destroy-data.

EXIT STATUS
  0  measured
  1  something failed, or a request did
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe bench -i eth0 e1.1
  aoe bench -i eth0 --rw read --bs 128k --depth 8 --time 10s e1.1
  aoe bench -i eth0 --rw randwrite --destroy-data --size 1G --json e1.1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := parseAddr(args[0])
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			r, err := c.run(ctx, addr)
			if r.Requests > 0 {
				out := cmd.OutOrStdout()
				if c.json {
					err = errors.Join(err, show.JSON(out, r))
				} else {
					err = errors.Join(err, r.Print(out))
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	interfaceFlag(f, &c.ifname)
	linkFlag(f, &c.linkKind)
	c.poll.flag(f, "answers")
	f.StringVar(&c.pattern, "rw", string(bench.RandRead), "read, write, randread or randwrite")
	f.Var(&c.blockSize, "bs", "bytes in a request, a multiple of 512")
	f.IntVar(&c.depth, "depth", 32, "requests in flight")
	f.DurationVar(&c.time, "time", 5*time.Second, "how long")
	f.Uint64Var(&c.requests, "requests", 0, "end after so many requests (default when the time is over)")
	f.Var(&c.span, "size", "use only so many bytes at the start of the disk (default all)")
	f.Uint64Var(&c.seed, "seed", 1, "of the offsets and the data")
	f.BoolVar(&c.destroy, "destroy-data", false, "allow patterns that write")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c benchConfig) run(ctx context.Context, addr frame.Addr) (bench.Result, error) {
	pattern, err := bench.ParsePattern(c.pattern)
	if err != nil {
		return bench.Result{}, exit.With(exit.Usage, err)
	}
	if pattern.Writes() && !c.destroy {
		return bench.Result{}, exit.Usagef("--rw %s destroys what is on %s: add --destroy-data if that is what you want", pattern, addr)
	}
	if c.depth < 1 || c.blockSize < 1 {
		return bench.Result{}, exit.Usagef("--depth and --bs must be at least 1")
	}
	l, err := openWith(open.Config{Interface: c.ifname, Kind: c.linkKind, Poll: time.Duration(c.poll)})
	if err != nil {
		return bench.Result{}, err
	}
	defer l.Close()
	d, err := initiator.Open(ctx, initiator.Config{
		Link: l, Addr: addr, Depth: c.depth,
		MaxRequest: max(initiator.DefaultMaxRequest, (int(c.blockSize)+4095)&^4095),
	})
	if err != nil {
		return bench.Result{}, openError(err)
	}
	defer d.Close()
	// A target that fell silent keeps requests in flight for the dead time:
	// who interrupts does not want to wait for that.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, func() { d.Close() }) })()
	r, err := bench.Run(ctx, bench.Config{
		Disk: d, Pattern: pattern, BlockSize: int(c.blockSize), Depth: c.depth, Duration: c.time,
		Requests: c.requests, Span: int64(c.span), Seed: c.seed,
	})
	if ctx.Err() != nil && r.Requests > 0 {
		err = nil // interrupted: what was measured until then is the result
	}
	return r, err
}

// openError gives an error of initiator.Open its status.
func openError(err error) error {
	if errors.Is(err, initiator.ErrNoAnswer) {
		return exit.With(exit.NoAnswer, err)
	}
	return err
}
