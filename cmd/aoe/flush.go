package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
	"aoe/initiator"
)

// A flushConfig is the command line of aoe flush.
type flushConfig struct {
	oneDisk
	all, cache bool
}

func newFlush() *cobra.Command {
	var c flushConfig
	cmd := &cobra.Command{
		Use:   "flush [-a | ADDRESS|DEVICE... | --cache ADDRESS]",
		Short: "Detach the disks that are down, or flush a disk's write cache",
		Long: `Like aoe-flush(8), detach the attached disks that are down: their targets answer
no more. With -a, detach all that are not in use; with names, detach those. A disk
in use (mounted, swap) is never detached. What has not been written yet to a disk
that is down is lost then. What was detached is printed.

--cache does something else: it tells a disk, attached or not, to write its cache
to stable storage (ATA FLUSH CACHE), and waits until it has.

EXIT STATUS
  0  done, also when there was nothing to do
  1  something failed
  2  the command line was not understood
  3  --cache: nobody answered
  4  a disk that was named is in use`,
		Example: `  aoe flush
  aoe flush -a
  aoe flush --cache -i eth0 e1.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			if c.cache {
				if len(args) != 1 || c.all {
					return exit.Usagef("--cache takes one address")
				}
				return c.flushCache(ctx, args[0])
			}
			if len(args) > 0 && c.all {
				return exit.Usagef("-a means all: it takes no names")
			}
			gone, err := c.flush(ctx, rundir.Default(), args, cmd.ErrOrStderr())
			for _, addr := range gone {
				fmt.Fprintln(cmd.OutOrStdout(), addr, "detached")
			}
			return err
		},
	}
	f := cmd.Flags()
	interfacesFlag(f, &c.interfaces)
	linkFlag(f, &c.linkKind)
	f.StringVar(&c.mac, "mac", "", "the target's port, where several disks answer to one address")
	f.DurationVarP(&c.timeout, "timeout", "t", flushTime, "--cache: how long to wait for the disk")
	f.BoolVarP(&c.all, "all", "a", false, "all attached disks that are not in use")
	f.BoolVar(&c.cache, "cache", false, "make the disk write its cache to stable storage")
	return cmd
}

// flushTime is for a disk with much in its cache.
const flushTime = 2 * initiator.OpenTime

// flush detaches the disks that are named, or those that are down or unused, and
// tells said of those that stay.
func (c flushConfig) flush(ctx context.Context, dir rundir.Dir, names []string, said io.Writer) (gone []frame.Addr, err error) {
	all, err := statuses(ctx, dir, names)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range all {
		if len(names) == 0 && !c.all && s.State != string(initiator.IsDown) {
			continue
		}
		switch err := dir.Forget(ctx, s.Addr); {
		case err == nil:
			gone = append(gone, s.Addr)
		case !errors.Is(err, rundir.ErrRefused):
			errs = append(errs, err)
		case len(names) > 0:
			errs = append(errs, exit.With(exit.InUse, err))
		default:
			fmt.Fprintln(said, "aoe:", err)
		}
	}
	return gone, errors.Join(errs...)
}

func (c flushConfig) flushCache(ctx context.Context, name string) error {
	d, err := c.find(ctx, name)
	if err != nil {
		return err
	}
	defer d.Close()
	return c.ask(ctx, func(ctx context.Context) error {
		id, err := initiator.Identify(ctx, d.Link, d.Target)
		if err != nil {
			return err
		}
		op := frame.OpFlush
		switch {
		case id.FlushExt:
			op = frame.OpFlushExt
		case !id.Flush && !id.WriteCache:
			return nil // nothing is ever cached
		}
		_, _, err = initiator.IssueATA(ctx, d.Link, d.Target, frame.NewATA(op, 0, 0), nil, 0)
		return err
	})
}
