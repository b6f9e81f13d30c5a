// Command aoe serves files and block devices as disks over ATA over Ethernet,
// attaches such disks, and has the tools around both. `aoe help` lists the
// subcommands; each has a file here, and its logic in a package beneath
// cmd/internal or in the library.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
)

func main() {
	addProcessors()
	os.Exit(int(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)))
}

// addProcessors lets two more goroutines run at a time than there are
// processors. Most of ours wait in system calls. While not one of the runtime's
// P is idle, it takes that of a goroutine away which has been in a system call
// for 20 us, and the goroutine has to get another when it comes back: a frame
// that arrived then waits longer than the network took. GOMAXPROCS in the
// environment is obeyed.
func addProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
}

// run is main without the process: what the tests call.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) exit.Status {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	status, message := exit.Of(err)
	if message {
		if status == exit.Interrupted && errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(stderr, "aoe:", err)
		if status == exit.Usage {
			fmt.Fprintln(stderr, "Run 'aoe help' or 'aoe COMMAND --help'.")
		}
	}
	return status
}

// newRoot is the command tree. Nothing in it is shared between calls.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "aoe",
		Short: "Disks over ATA over Ethernet, both sides",
		Long: `aoe serves files and block devices as disks over ATA over Ethernet (AoE), and
attaches such disks. Both sides are made so that a machine which runs short of
memory can still write to its disk.

A disk has an address, e1.2: shelf 1, slot 2. There is no IP and no routing:
both sides are on one Ethernet segment. There is no authentication either: use
it on a segment that you trust.

EXIT STATUS
  0  all of it was done
  1  something failed; the message says what
  2  the command line was not understood
  3  nobody answered on the network
  4  refused, because the disk is in use: mounted, swap, or attached already`,
		Example: `  # See it work: needs root, and touches no interface of yours
  aoe lab

  # Serve a file, and attach it on another machine of the segment
  aoe serve -i eth1 e1.1 disk.img
  aoe attach -i eth0 e1.1`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := fmt.Sprintf("there is no command %q", args[0])
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				err += fmt.Sprintf("; did you mean %q?", s[0])
			}
			return exit.Usagef("%s", err)
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit.With(exit.Usage, err) })
	root.AddCommand(
		newServe(), newAttach(), newDetach(), newDiscover(), newStat(), newPing(), newBench(), newLab(), newLabWorker(), newVersion(),
		newTarget(), newCfg(), newMask(), newReserve(), newRelease(), newIdentify(), newFlush(), newRevalidate(), newCopy(),
		newTrace(), newSancheck(), newMan(),
	)
	usageErrors(root)
	addCompletion(root)
	return root
}

// usageErrors gives wrong arguments the status Usage, in all subcommands.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if _, ok := errors.AsType[*exit.Error](err); ok {
				return err
			}
			return exit.With(exit.Usage, err)
		}
	}
	for _, c := range cmd.Commands() {
		usageErrors(c)
	}
}

// interruptible is a context that ends with the first SIGINT or SIGTERM. The
// second one kills the process, as if nobody had asked for the first.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
