package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/lab"
	"aoe/cmd/internal/show"
)

func newLabClean() *cobra.Command {
	var cfg lab.CleanConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "clean [flags]",
		Short: "Remove what labs left that were killed",
		Long: `Remove what aoe lab and aoe lab guest left because they were killed (kill -9, or
by the kernel when memory ran out), and print it: their commands and workers, with
them the network namespaces and cables, mounts, loop and other block devices, run
directories and images. Whatever else ends a lab, it removes these things itself,
and the next aoe lab with the same --dir begins with this. Doing it twice does no
harm.

A lab that lives is left alone: it holds a lock on its directory, which ends with
it. A process is the lab's if it was started with the mark of that directory
(AOE_LAB in the environment), or is in the lab's network namespace and in its
process group. It is asked to end, and killed after 5 seconds. A process in the
namespace that neither shows is left alone and named. So is a mount of the lab's
device in a directory of yours; unmount it and try again.
What --via ublk and --via nbd-kernel made outlives a process by design, and waits
to be taken over; that of a lab is ended, and whoever uses it gets I/O errors.

Directories are looked for in $TMPDIR, or /tmp, in /dev/shm, and wherever a
process or a mount shows one; with --dir, in that directory alone.

EXIT STATUS
  0  nothing is left, or with --dry-run: printed
  1  something is, and it is printed why; or it could not be looked for
  2  the command line was not understood`,
		Example: `  aoe lab clean
  aoe lab clean --dry-run
  aoe lab clean --json | jq '.[].removed'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			found, err := lab.Clean(ctx, cfg)
			if printErr := printLeftovers(cmd, found, cfg.DryRun, asJSON); err == nil {
				err = printErr
			}
			if err != nil {
				return err
			}
			for _, l := range found {
				if len(l.Kept) > 0 && !cfg.DryRun {
					return exit.Silent(exit.Failed)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "only labs whose --dir was this")
	f.BoolVarP(&cfg.DryRun, "dry-run", "n", false, "print what there is, and remove nothing")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printLeftovers(cmd *cobra.Command, found []lab.Leftover, dryRun, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		if found == nil {
			found = []lab.Leftover{}
		}
		return show.JSON(out, found)
	}
	dead := 0
	for _, l := range found {
		if err := l.Print(out, dryRun); err != nil {
			return err
		}
		if !l.Living {
			dead++
		}
	}
	if dead == 0 {
		_, err := fmt.Fprintln(out, "Nothing was left behind.")
		return err
	}
	return nil
}
