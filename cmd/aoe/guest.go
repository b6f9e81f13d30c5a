package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/guest"
	"aoe/cmd/internal/show"
)

// A guestConfig is the command line of aoe lab guest.
type guestConfig struct {
	guest.Source
	guest.Recipe
	memory, diskSize sizeFlag
	fill, unread     sizeFlag
	flood, forged    floodFlag
	without          []string // --ablate
	script           string
	runs, parallel   int
	attach           []string
	keepLogs, json   bool
	logDir           string
}

func newLabGuest() *cobra.Command {
	c := guestConfig{memory: guest.DefaultMemory, diskSize: guest.DefaultDisk, fill: guest.DefaultFill}
	cmd := &cobra.Command{
		Use:     "guest [flags] [-- COMMAND [ARGUMENT...]]",
		Short:   "Run a small machine whose disks are on the network",
		Long:    guestHelp,
		Example: guestExamples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			m := &c.Machine
			m.MemoryBytes, m.DiskBytes = int64(c.memory), int64(c.diskSize)
			switch {
			case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
				return exit.Usagef("write -- in front of the command to run: aoe lab guest -- %s", strings.Join(args, " "))
			case len(args) > 0 && c.script != "", c.Initiator != "" && (len(args) > 0 || c.script != ""):
				return exit.Usagef("one of --initiator, --script and a command, not two of them")
			case c.Initiator != "":
				return c.runRecipe(cmd)
			case len(args) > 0:
				m.Script = "exec " + quoted(args) + "\n"
			case c.script != "":
				data, err := os.ReadFile(c.script)
				if err != nil {
					return err
				}
				m.Script = string(data)
			default:
				return exit.Usagef("nothing to run in the guest: say --initiator, --script FILE or -- COMMAND")
			}
			return c.runScript(cmd)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// guestHelp is the help of lab guest.
const guestHelp = `Boot a small Linux machine in QEMU (software emulation) on a network of its own,
with disks e1.1, e1.2 and so on served beside it. Its kernel is fetched from
Debian's archive with apt-get and kept in the user's cache directory; nothing is
installed.

With --initiator: run the recipe under which a machine hangs that swaps on the
network. The guest swaps on e1.1, attached by Linux's own driver (kernel) or by
aoe attach (ublk, nbd); a program needs --fill bytes, more than there is memory,
and looks at every word of them; --flood sends foreign frames and --unread opens a
socket that takes them and is never read. Prints a table of the --runs, keeps the
log of each that failed, and says which tasks of the guest were blocked where.
--ablate runs all of it with everything on, and then without one mechanism at a
time, and prints a table of what each is good for.

With COMMAND or --script: run that in the guest, in busybox's shell, and return
its exit status. What the guest prints goes to standard output. It finds aoe in
its PATH and

  AOE_INTERFACE  the interface to the disks, eth0
  AOE_DISKS      their addresses
  AOE_MTU        the MTU of the network

EXIT STATUS
  0    with --initiator: all runs survived, with --ablate those with everything on
  1    with --initiator: one of these did not
  2    the command line was not understood
  125  the guest could not be run, or ended without one
  130  interrupted
  Any other status is COMMAND's own.`

const guestExamples = `  # Linux's own driver, which does not survive this
  aoe lab guest --initiator kernel --flood 5000 --unread 48M --runs 3

  # Ours
  aoe lab guest --initiator ublk --flood 5000 --unread 48M --runs 3

  # Ours, with forged answers in the flood; and what each mechanism is good for
  aoe lab guest --initiator ublk --flood 5000 --unread 48M --forged 5000
  aoe lab guest --initiator ublk --flood 5000 --unread 48M --runs 3 --ablate

  # Anything else
  aoe lab guest -- aoe discover -i eth0
  aoe lab guest --kernel 6.1 --memory 96M --module nbd --script try.sh`

// flags defines the flags of lab guest.
func (c *guestConfig) flags(f *pflag.FlagSet) {
	m, r := &c.Machine, &c.Recipe
	f.StringVar(&c.Kernel, "kernel", guest.DefaultKernel, "series of the guest's kernel: 6.12 or 6.1")
	f.Var(&c.memory, "memory", "of the guest, in bytes")
	f.IntVar(&m.MTU, "mtu", guest.DefaultMTU, "of the network, in bytes")
	f.IntVar(&m.Disks, "disks", 1, "disks on the network")
	f.Var(&c.diskSize, "disk-size", "bytes of each disk")
	f.StringVar(&m.Target, "target", "own", "who serves them: "+strings.Join(guest.Targets, ", "))
	f.StringSliceVar(&m.Modules, "module", nil, "more kernel modules to load")
	f.StringVar(&m.KernelArgs, "append", "", "more for the kernel's command line")
	f.DurationVar(&m.Timeout, "timeout", 0, "end the guest after this time (default 5m, with --initiator 15m)")
	f.StringVar(&c.Cache, "cache", "", "directory for unpacked kernels (default $XDG_CACHE_HOME/aoe/guest)")
	f.StringVar(&c.Binary, "aoe", "", "the aoe for the guest, linked statically (default this one, or one built here)")
	f.StringVar(&c.script, "script", "", "file with what the guest's shell runs")

	f.StringVar(&r.Initiator, "initiator", "", "run the recipe, with "+strings.Join(guest.Initiators, ", "))
	f.Var(&c.fill, "fill", "bytes that the program needs")
	f.Var(&c.flood, "flood", "foreign frames a second, or max")
	f.Var(&c.forged, "forged", "forged answers of the disk with random tags a second, or max")
	f.Var(&c.unread, "unread", "room in bytes of the socket that takes the flood, as in 48M")
	f.BoolVar(&r.Read, "read", false, "read that socket: a flood that is read does no harm")
	f.IntVar(&r.MinFreeKB, "min-free", 0, "vm.min_free_kbytes of the guest (default its own)")
	f.BoolVar(&r.DeadTarget, "dead-target", false, "the last disk's target falls silent (needs --disks 2)")
	f.StringArrayVar(&c.attach, "attach", nil, "argument for aoe attach, any number of times (default "+strings.Join(guest.AttachDefaults, " ")+")")
	f.DurationVar(&r.Stall, "stall", guest.DefaultStall, "hung is when nothing moves for so long")
	f.StringSliceVar(&c.without, "ablate", nil, "run all of it anew without each of these mechanisms, or without all, one at a time")
	f.Lookup("ablate").NoOptDefVal = "guard,filter,lock,io-flusher,real-time"
	f.Uint64Var(&r.Seed, "seed", 1, "of what is written, and of the order")
	f.IntVar(&c.runs, "runs", 1, "how often to run it")
	f.IntVar(&c.parallel, "parallel", 1, "how many to run at once; each takes a processor")
	f.BoolVar(&c.keepLogs, "keep-log", false, "keep the log of runs that survived, too")
	f.StringVar(&c.logDir, "log-dir", "", "where to keep logs (default $TMPDIR or /tmp)")
	f.BoolVar(&c.json, "json", false, "with --initiator: print JSON")
}

// scriptModules are what a script may want to use.
var scriptModules = []string{"nbd", "ublk_drv"}

// A floodFlag is a rate in frames a second, or "max", which is -1.
type floodFlag int

func (r *floodFlag) String() string {
	if *r < 0 {
		return "max"
	}
	return strconv.Itoa(int(*r))
}
func (r *floodFlag) Type() string { return "rate" }
func (r *floodFlag) Set(s string) error {
	if s == "max" {
		*r = -1
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a rate: want frames a second, or max", s)
	}
	*r = floodFlag(n)
	return nil
}

// quoted is a command line for the shell.
func quoted(args []string) string {
	words := slices.Clone(args)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

func (c guestConfig) runScript(cmd *cobra.Command) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	k, err := c.prepare(ctx, cmd)
	if err != nil {
		return err
	}
	m := c.Machine
	m.Serial = cmd.OutOrStdout()
	if len(m.Modules) == 0 {
		m.Modules = scriptModules
	}
	out, err := k.Run(ctx, m)
	if err != nil {
		return exit.With(exit.LabFailed, err)
	}
	say := cmd.ErrOrStderr()
	for _, name := range out.NoModule {
		fmt.Fprintf(say, "aoe: kernel %s has no module %s\n", k.Release, name)
	}
	fmt.Fprintf(say, "aoe: the guest's script ran for %s\n", show.Duration(out.Took.Round(time.Millisecond)))
	if out.End != guest.Exited {
		return exit.With(exit.LabFailed, fmt.Errorf("the guest ended without a status: %s", out.End))
	}
	if out.Status != 0 {
		return exit.Silent(exit.Status(out.Status))
	}
	return nil
}

// prepare is guest.Prepare, with what takes long told to the user.
func (c guestConfig) prepare(ctx context.Context, cmd *cobra.Command) (*guest.Kernel, error) {
	c.Tell = func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "aoe:", s) }
	k, err := guest.Prepare(ctx, c.Source)
	return k, exit.With(exit.LabFailed, err)
}

func (c guestConfig) runRecipe(cmd *cobra.Command) error {
	without, err := guest.FindMechanisms(c.without)
	if err != nil {
		return exit.Usagef("--ablate: %v", err)
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	k, err := c.prepare(ctx, cmd)
	if err != nil {
		return err
	}
	r := c.Recipe
	r.FillBytes, r.UnreadBytes, r.Flood, r.Forged = int64(c.fill), int(c.unread), int(c.flood), int(c.forged)
	if cmd.Flags().Changed("attach") {
		r.Attach = c.attach
	}
	series := guest.Series{
		Recipe: r, Runs: c.runs, Parallel: c.parallel, KeepLogs: c.keepLogs, LogDir: c.logDir,
		Tell: func(run int, what string) { fmt.Fprintf(cmd.ErrOrStderr(), "run %d: %s\n", run, what) },
	}
	if len(c.without) > 0 {
		return c.ablate(ctx, cmd, k, series, without)
	}
	report, err := k.RunSeries(ctx, series)
	if report != nil && len(report.Trials) > 0 {
		err = errors.Join(err, c.print(cmd, report))
	}
	switch {
	case err != nil:
		return exit.With(exit.LabFailed, err)
	case report.Survived() < len(report.Trials):
		return exit.Silent(exit.Failed)
	}
	return nil
}

// print prints a report as it was asked for.
func (c guestConfig) print(cmd *cobra.Command, report interface{ Print(io.Writer) error }) error {
	if c.json {
		return show.JSON(cmd.OutOrStdout(), report)
	}
	return report.Print(cmd.OutOrStdout())
}

// ablate runs the series without each mechanism. What does not survive then is a
// result, and no failure; with all of them, it is one.
func (c guestConfig) ablate(ctx context.Context, cmd *cobra.Command, k *guest.Kernel, series guest.Series, without []guest.Mechanism) error {
	ablation, err := k.Ablate(ctx, series, without)
	if ablation != nil && len(ablation.Rows) > 0 {
		err = errors.Join(err, c.print(cmd, ablation))
	}
	if err != nil {
		return exit.With(exit.LabFailed, err)
	}
	if all := ablation.Rows[0].Report; all.Survived() < len(all.Trials) {
		return exit.Silent(exit.Failed)
	}
	return nil
}
