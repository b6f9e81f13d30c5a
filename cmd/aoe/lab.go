package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/lab"
	"aoe/cmd/internal/live"
	"aoe/cmd/internal/show"
	"aoe/frame/link/linktest"
)

// A labConfig is the command line of aoe lab.
type labConfig struct {
	lab.Config
	size                     sizeFlag
	loss, duplicate, reorder fraction
	reserveOnly              bool
	flood                    int
	tree                     string
	ops                      int
	json, verbose            bool
	http                     string
}

func newLab() *cobra.Command {
	var c labConfig
	cmd := &cobra.Command{
		Use:   "lab [flags] [-- COMMAND [ARGUMENT...]]",
		Short: "Try everything on a network of its own, or run a command beside a disk",
		Long: `Make two hosts joined by a cable (network namespaces and a veth pair of this
process's own), serve an image on one and attach it on the other. No interface of
the machine is touched, and everything is removed at the end. Needs root.

Without COMMAND: make an ext4 file system on the disk, copy the sources of the Go
toolchain (or --tree) into it, detach, attach again, and compare every file's
digest; then read and write with 5 % of all frames lost, duplicated and reordered,
and once more with every ordinary allocation failing, under a flood of foreign and
forged frames. Ends with a table: what was done, how many received frames were
kept and how many freed at once, how low the reserve was, and a verdict.

With --http ADDRESS a page for a browser shows the disk while the lab runs: how
full the reserve is, frames admitted and freed, what is in flight, latency and the
regime. Its address is printed on standard error; /stats there is the same as
JSON. There is no authentication: with 127.0.0.1 only this machine sees it.

With COMMAND: run it on the host of the attached disk, with these variables set,
and return its exit status:

  AOE_DEVICE     the block device (with --via nbd: the socket)
  AOE_ADDR       the disk's address
  AOE_INTERFACE  the interface of the host that COMMAND runs on

EXIT STATUS
  0    without COMMAND: all of it held
  1    without COMMAND: something did not hold, or could not be tried
  2    the command line was not understood
  125  with COMMAND: the lab could not be set up, or not be removed
  126  COMMAND could not be run
  127  COMMAND was not found
  130  interrupted
  Any other status is COMMAND's own.`,
		Example: `  aoe lab
  aoe lab --json | jq .ok
  aoe lab -- sh -c 'mkfs.ext4 -q $AOE_DEVICE && fsck.ext4 -fn $AOE_DEVICE'
  aoe lab --loss 5% --seed 7 -- fio --name=x --filename='$AOE_DEVICE' \
      --rw=randwrite --direct=1 --verify=crc32c --size=100M
  aoe lab --http 127.0.0.1:0
  aoe lab --reserve-only --flood 5000 -- sh -c 'dd if=/dev/zero of=$AOE_DEVICE'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return exit.Usagef("write -- in front of the command to run: aoe lab -- %s", strings.Join(args, " "))
			}
			if !cmd.Flags().Changed("seed") {
				c.Seed = uint64(rand.Uint32())
			}
			c.Size = int64(c.size)
			return c.shown(cmd, args)
		},
	}
	c.flags(cmd.Flags())
	cmd.AddCommand(newLabGuest(), newLabList(), newLabRun(), newLabReport(), newLabClean(), newInside())
	return cmd
}

// flags defines the flags of lab.
func (c *labConfig) flags(f *pflag.FlagSet) {
	f.Var(&c.size, "size", "bytes of the image that is made (default "+show.Bytes(lab.DefaultSize)+")")
	f.StringVar(&c.Image, "image", "", "serve this file instead; it is written to")
	f.StringVar(&c.Dir, "dir", "", "directory for the image (default $TMPDIR or /tmp)")
	f.IntVar(&c.MTU, "mtu", 9000, "of the cable, in bytes")
	f.Var(&c.loss, "loss", "fraction of frames that are lost, in each direction: 0.05 or 5%")
	f.Var(&c.duplicate, "duplicate", "fraction that arrives twice")
	f.Var(&c.reorder, "reorder", "fraction that is overtaken by others")
	f.Uint64Var(&c.Seed, "seed", 0, "of losses, flood and data (default random; it is printed)")
	f.StringVar(&c.Via, "via", "", "how to attach: "+strings.Join(wayNames(), ", ")+" (default a block device)")
	f.BoolVar(&c.reserveOnly, "reserve-only", false, "make every ordinary allocation of the initiator fail")
	f.IntVar(&c.flood, "flood", 0, "foreign and forged frames a second at each host")
	f.StringVar(&c.tree, "tree", "", "files to copy (default the Go toolchain's sources)")
	f.IntVar(&c.ops, "ops", 0, "reads and writes of each of 8 workers in the hard steps (default 100)")
	f.BoolVar(&c.json, "json", false, "without COMMAND: print JSON")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "with COMMAND: print what became of the frames")
	f.StringVar(&c.http, "http", "", "show a live page at this address: 127.0.0.1:0 is any port")
}

// newLabWorker is how aoe lab starts itself for the work on its disk. It is not
// for people.
func newLabWorker() *cobra.Command {
	return &cobra.Command{
		Use:    lab.WorkerName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Worker(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func (c labConfig) faults() linktest.Faults {
	return linktest.Faults{Loss: float64(c.loss), Duplicate: float64(c.duplicate), Reorder: float64(c.reorder)}
}

// shown runs the lab, and shows it to browsers if that was asked for.
func (c labConfig) shown(cmd *cobra.Command, args []string) (err error) {
	failed := exit.Failed
	if len(args) > 0 {
		failed = exit.LabFailed
	}
	if c.http == "" {
		return c.run(cmd, args)
	}
	if c.Page, err = live.Listen(c.http); err != nil {
		return exit.With(failed, err)
	}
	if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "aoe lab: live at", c.Page.URL()); err != nil {
		return exit.With(failed, errors.Join(err, c.Page.Close()))
	}
	err = c.run(cmd, args)
	// The lab is what was asked for: its status counts, if it has one.
	if closeErr := c.Page.Close(); err == nil {
		err = exit.With(failed, closeErr)
	}
	return err
}

func (c labConfig) run(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return c.captive(cmd, args)
	}
	return c.newcomer(cmd)
}

func (c labConfig) captive(cmd *cobra.Command, args []string) error {
	if c.tree != "" || c.ops != 0 || c.json {
		return exit.Usagef("--tree, --ops and --json are for aoe lab without a command")
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	cfg := lab.CaptiveConfig{
		Config:     c.Config,
		Conditions: lab.Conditions{Faults: c.faults(), ReserveOnly: c.reserveOnly, Flood: c.flood},
		Command: lab.Command{
			Args: args, Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
		},
	}
	if c.verbose {
		cfg.Report = cmd.ErrOrStderr()
	}
	err := lab.Captive(ctx, cfg)
	status, _ := exit.Of(err)
	c.Page.Finish(fmt.Sprintf("The command has ended with status %d.", status))
	return err
}

func (c labConfig) newcomer(cmd *cobra.Command) error {
	if c.reserveOnly || c.verbose {
		return exit.Usagef("--reserve-only and --verbose are for aoe lab with a command")
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	cfg := lab.NewcomerConfig{Config: c.Config, Tree: c.tree, Faults: c.faults(), Flood: c.flood, Ops: c.ops}
	if f, ok := cmd.ErrOrStderr().(*os.File); ok {
		cfg.Progress = lab.NewProgress(f)
	}
	report, err := lab.Newcomer(ctx, cfg)
	if report.OK && err == nil {
		c.Page.Finish("All of it held.")
	} else {
		c.Page.Finish("It did not hold, or was interrupted.")
	}
	if len(report.Rows) == 0 {
		return err
	}
	out := cmd.OutOrStdout()
	if c.json {
		err = errors.Join(err, show.JSON(out, report))
	} else {
		err = errors.Join(err, printReport(cmd, report))
	}
	if err == nil && !report.OK {
		return exit.Silent(exit.Failed)
	}
	return err
}

func printReport(cmd *cobra.Command, r lab.Report) error {
	if _, err := fmt.Fprintln(cmd.OutOrStdout()); err != nil {
		return err
	}
	return r.Print(cmd.OutOrStdout())
}

// A fraction is a probability on the command line: 0.05 or 5%.
type fraction float64

func (p *fraction) String() string { return strconv.FormatFloat(float64(*p), 'g', -1, 64) }
func (p *fraction) Type() string   { return "fraction" }
func (p *fraction) Set(s string) error {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v < 1) {
		return fmt.Errorf("%q is not a fraction: want 0.05 or 5%%, less than all", s)
	}
	*p = fraction(v)
	return nil
}
