package main

import (
	"fmt"
	"os"
	"slices"
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
	guest.Machine
	memory, diskSize sizeFlag
	script           string
}

func newLabGuest() *cobra.Command {
	c := guestConfig{memory: guest.DefaultMemory, diskSize: guest.DefaultDisk}
	cmd := &cobra.Command{
		Use:   "guest [flags] [-- COMMAND [ARGUMENT...]]",
		Short: "Run a small machine whose disks are on the network",
		Long: `Boot a small Linux machine in QEMU (software emulation) on a network of its own,
with disks e1.1, e1.2 and so on served beside it. Its kernel is fetched from
Debian's archive with apt-get and kept in the user's cache directory; nothing is
installed.

With COMMAND or --script: run that in the guest, in busybox's shell, and return its
exit status. What the guest prints goes to standard output. It finds aoe in its PATH
and

  AOE_INTERFACE  the interface to the disks, eth0
  AOE_DISKS      their addresses
  AOE_MTU        the MTU of the network

EXIT STATUS
  125  the guest could not be run, or ended without one
  130  interrupted
  Any other status is COMMAND's own.`,
		Example: `  aoe lab guest -- aoe discover -i eth0
  aoe lab guest --kernel 6.1 --memory 96M --module nbd --script try.sh`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.MemoryBytes, c.DiskBytes = int64(c.memory), int64(c.diskSize)
			switch {
			case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
				return exit.Usagef("write -- in front of the command to run: aoe lab guest -- %s", strings.Join(args, " "))
			case len(args) > 0 && c.script != "":
				return exit.Usagef("--script or a command, not both")
			case len(args) > 0:
				c.Script = "exec " + quoted(args) + "\n"
			case c.script != "":
				data, err := os.ReadFile(c.script)
				if err != nil {
					return err
				}
				c.Script = string(data)
			default:
				return exit.Usagef("nothing to run in the guest: say --script FILE or -- COMMAND")
			}
			return c.runScript(cmd)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// flags defines the flags of lab guest.
func (c *guestConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Kernel, "kernel", guest.DefaultKernel, "series of the guest's kernel: 6.12 or 6.1")
	f.Var(&c.memory, "memory", "of the guest, in bytes")
	f.IntVar(&c.MTU, "mtu", guest.DefaultMTU, "of the network, in bytes")
	f.IntVar(&c.Disks, "disks", 1, "disks on the network")
	f.Var(&c.diskSize, "disk-size", "bytes of each disk")
	f.StringVar(&c.Target, "target", "own", "who serves them: own or vblade")
	f.StringSliceVar(&c.Modules, "module", []string{"nbd", "ublk_drv"}, "kernel modules to load")
	f.StringVar(&c.KernelArgs, "append", "", "more for the kernel's command line")
	f.DurationVar(&c.Timeout, "timeout", guest.DefaultTimeout, "end the guest after this time")
	f.StringVar(&c.Cache, "cache", "", "directory for unpacked kernels (default $XDG_CACHE_HOME/aoe/guest)")
	f.StringVar(&c.Binary, "aoe", "", "the aoe for the guest, linked statically (default this one, or one built here)")
	f.StringVar(&c.script, "script", "", "file with what the guest's shell runs")
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
	c.Tell = func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "aoe:", s) }
	c.Serial = cmd.OutOrStdout()
	k, err := guest.Prepare(ctx, c.Source)
	if err != nil {
		return exit.With(exit.LabFailed, err)
	}
	out, err := k.Run(ctx, c.Machine)
	if err != nil {
		return exit.With(exit.LabFailed, err)
	}
	for _, name := range out.NoModule {
		c.Tell("kernel " + k.Release + " has no module " + name)
	}
	c.Tell(fmt.Sprintf("the guest's script ran for %s", show.Duration(out.Took.Round(time.Millisecond))))
	if out.End != guest.Exited {
		return exit.With(exit.LabFailed, fmt.Errorf("the guest ended without a status: %s", out.End))
	}
	if out.Status != 0 {
		return exit.Silent(exit.Status(out.Status))
	}
	return nil
}
