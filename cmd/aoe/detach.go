package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
)

func newDetach() *cobra.Command {
	return &cobra.Command{
		Use:   "detach ADDRESS|DEVICE...",
		Short: "Detach disks that aoe attach attached",
		Long: `Ask the process that attached a disk to detach it, and wait until that is done:
everything that was written has reached the target then.

A disk that is in use (mounted, used as swap or by another block device) is not
detached: the message says where it is in use, and nothing changes.

EXIT STATUS
  0  all of them are detached
  1  something failed
  2  the command line was not understood
  4  refused: in use`,
		Example: `  aoe detach e1.1
  aoe detach /dev/loop7`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			dir := rundir.Default()
			var errs []error
			for _, name := range args {
				addr, err := dir.Find(ctx, name)
				if err == nil {
					err = dir.Detach(ctx, addr)
				}
				if errors.Is(err, rundir.ErrRefused) {
					err = exit.With(exit.InUse, err)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), addr, "detached")
			}
			return errors.Join(errs...)
		},
	}
}
