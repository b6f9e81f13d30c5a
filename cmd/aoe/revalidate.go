package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
)

func newRevalidate() *cobra.Command {
	var o oneDisk
	cmd := &cobra.Command{
		Use:   "revalidate ADDRESS|DEVICE",
		Short: "Ask an attached disk again how large it is, and whether it is the same",
		Long: `Ask the target of an attached disk what it is now, over the interface that it is
attached on, and compare that with what the process that holds it goes by. Print
address, size, interface, state and device like ` + "`aoe stat`" + `, and what has changed.

That process asks by itself too: it takes up a disk that has grown, and stops
using one whose serial number is another (` + "`aoe stat`" + ` says so). A file system does
not grow by itself: resize2fs and its like do that.

EXIT STATUS
  0  it is the disk that was attached, as large as it was
  1  something failed, or the disk has changed, or is not attached
  2  the command line was not understood
  3  its target does not answer`,
		Example: `  aoe revalidate e1.1
  aoe revalidate /dev/ublkb0`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			got, err := revalidate(ctx, o, rundir.Default(), args[0])
			if got == nil {
				return err
			}
			if o.json {
				err = errors.Join(show.JSON(cmd.OutOrStdout(), got), err)
			} else {
				err = errors.Join(printStatuses(cmd.OutOrStdout(), []rundir.Status{got.Status}, false), err)
			}
			return err
		},
	}
	o.flags(cmd)
	return cmd
}

// A revalidation is what --json prints.
type revalidation struct {
	rundir.Status
	Now     *frame.Identify `json:"now,omitempty"` // nil if the target did not answer
	Changed []string        `json:"changed"`       // in words
}

// revalidate asks the disk, and then the process that holds it.
func revalidate(ctx context.Context, o oneDisk, dir rundir.Dir, name string) (*revalidation, error) {
	addr, err := dir.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := dir.Status(ctx, addr)
	if err != nil {
		return nil, err
	}
	if len(o.interfaces) == 0 {
		o.interfaces = strings.Split(s.Interface, ",")
	}
	got := &revalidation{Status: s, Changed: []string{}}
	d, err := o.findAddr(ctx, addr)
	if err != nil {
		return got, err
	}
	defer d.Close()
	err = o.ask(ctx, func(ctx context.Context) error {
		id, err := initiator.Identify(ctx, d.Link, d.Target)
		got.Now = &id
		return err
	})
	if err != nil {
		got.Now = nil
		return got, err
	}
	got.Changed = differences(s, *got.Now)
	var errs []error
	for _, what := range got.Changed {
		errs = append(errs, exit.With(exit.Failed, fmt.Errorf("%s: %s", addr, what)))
	}
	return got, errors.Join(errs...)
}

// differences are in words what is not as it was.
func differences(was rundir.Status, now frame.Identify) []string {
	all := []string{}
	if now.Serial != was.Serial {
		all = append(all, fmt.Sprintf("another disk answers: serial %q, attached was %q", now.Serial, was.Serial))
	}
	if size := int64(now.Sectors) * frame.SectorSize; size != was.SizeBytes {
		word := "grown"
		if size < was.SizeBytes {
			word = "shrunk"
		}
		all = append(all, fmt.Sprintf("it has %s to %s, and is used as one of %s", word, show.Gigabytes(size), show.Gigabytes(was.SizeBytes)))
	}
	return all
}
