package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/diskcopy"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
	"aoe/target/store"
)

// A copyConfig is the command line of aoe copy.
type copyConfig struct {
	oneDisk
	diskcopy.Config
	state    string
	chunk    sizeFlag
	deadSecs int
}

func newCopy() *cobra.Command {
	c := copyConfig{chunk: diskcopy.DefaultChunk}
	cmd := &cobra.Command{
		Use:   "copy [-i INTERFACE...] SOURCE DESTINATION",
		Short: "Copy images and disks onto each other",
		Long: `Copy an image to a disk, a disk to an image, or a disk to another. SOURCE and
DESTINATION are each the address of a disk (e1.1), or a file, a block device, or
an NBD export (nbd://..., as in ` + "`aoe serve`" + `). A file called e1.1 is ./e1.1.

Zeros are not sent to a new file, and trimmed on a disk that promises zeros for
that. Holes of the source are not read. A destination that is larger keeps what is
behind the end of the source. Nobody should write to either end meanwhile.

A copy that is interrupted (Ctrl-C, an error, a crash) goes on where it was when
the same command is given again: a state file, DESTINATION.aoe-copy or --state,
tells where. While a target is silent the copy waits, up to --deadsecs.

A file that is there and a disk that is not blank at its beginning and end are not
overwritten without --force, a disk that is attached on this machine never.

EXIT STATUS
  0  all is copied, on stable storage, and compared if that was asked for
  1  something failed; the message says what, and whether the copy can go on
  2  the command line was not understood
  3  nobody answered
  4  refused: the destination exists, is not blank, or is in use
  130  interrupted; the same command goes on`,
		Example: `  aoe copy -i eth0 debian.img e1.1 --verify
  aoe copy -i eth0 e1.1 backup.img
  aoe copy -i eth0 --force e1.1 e2.1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			r, err := c.copy(ctx, args[0], args[1])
			if err != nil {
				return copyStatus(err)
			}
			if c.json {
				return show.JSON(cmd.OutOrStdout(), r)
			}
			return printCopied(cmd.OutOrStdout(), r)
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&c.Verify, "verify", false, "read both again when all is copied, and compare")
	f.BoolVarP(&c.Force, "force", "f", false, "overwrite what is there")
	f.StringVar(&c.state, "state", "", "state file (default DESTINATION.aoe-copy)")
	f.IntVar(&c.Depth, "depth", diskcopy.DefaultDepth, "chunks under way at a time")
	f.Var(&c.chunk, "chunk", "bytes copied at a time, a multiple of 64K")
	f.IntVar(&c.deadSecs, "deadsecs", 180, "seconds that a target may be silent; negative: for ever")
	return cmd
}

// copyStatus gives refusals their status.
func copyStatus(err error) error {
	for _, refused := range []error{diskcopy.ErrExists, diskcopy.ErrNotBlank, store.ErrLocked} {
		if errors.Is(err, refused) {
			return exit.With(exit.InUse, err)
		}
	}
	if errors.Is(err, context.Canceled) {
		return exit.With(exit.Interrupted, errors.New("interrupted: "+strings.TrimSpace(err.Error())))
	}
	return answered(err)
}

// copy opens both ends and copies.
func (c copyConfig) copy(ctx context.Context, from, to string) (r diskcopy.Result, err error) {
	if c.Depth < 1 || c.chunk < 1 {
		return r, exit.Usagef("--depth and --chunk: at least 1")
	}
	if c.Chunk = int(c.chunk); c.state == "" {
		c.state = stateFile(to)
	}
	c.State = c.state
	src, closeSource, err := c.source(ctx, from)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeSource()) }()
	dst, closeDestination, err := c.destination(ctx, to, src.Size)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeDestination()) }()
	c.Source, c.Destination, c.Progress = src, dst, diskcopy.NewProgress(os.Stderr)
	return diskcopy.Run(ctx, c.Config)
}

// stateFile is beside a file, and in the working directory for what is none.
func stateFile(to string) string {
	if store.IsURI(to) {
		to = strings.NewReplacer("/", "-", ":", "-", "?", "-").Replace(to)
	}
	if strings.HasPrefix(to, "/dev/") {
		to = strings.ReplaceAll(to[1:], "/", "-")
	}
	return to + ".aoe-copy"
}

func (c copyConfig) source(ctx context.Context, name string) (*diskcopy.End, func() error, error) {
	if addr, err := frame.ParseAddr(name); err == nil {
		return c.disk(ctx, addr)
	}
	e, err := diskcopy.OpenSource(name)
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

func (c copyConfig) destination(ctx context.Context, name string, size int64) (*diskcopy.End, func() error, error) {
	if addr, err := frame.ParseAddr(name); err == nil {
		if _, err := rundir.Default().Find(ctx, addr.String()); err == nil {
			return nil, nil, exit.With(exit.InUse, fmt.Errorf("%s is attached on this machine: detach it, or write to its device", addr))
		}
		return c.disk(ctx, addr)
	}
	e, err := diskcopy.OpenDestination(name, size, c.Force, diskcopy.Begun(c.state))
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// disk opens an AoE disk.
func (c copyConfig) disk(ctx context.Context, addr frame.Addr) (*diskcopy.End, func() error, error) {
	if addr.IsWildcard() {
		return nil, nil, exit.Usagef("%s may be many disks: name one, as in e1.1", addr)
	}
	found, err := c.findAddr(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	d, err := initiator.Open(ctx, initiator.Config{Link: found.Link, Addr: addr, DeadTime: deadTime(c.deadSecs)})
	if err != nil {
		return nil, nil, errors.Join(err, found.Close())
	}
	return diskcopy.Disk(d), func() error { return errors.Join(d.Close(), found.Close()) }, nil
}

// deadTime is initiator.Config.DeadTime, where zero means the default.
func deadTime(seconds int) time.Duration {
	return max(time.Duration(seconds)*time.Second, -1)
}

func printCopied(w io.Writer, r diskcopy.Result) error {
	line := fmt.Sprintf("%s copied in %s", show.Bytes(r.SizeBytes-r.ResumedAt), show.Duration(r.Took))
	if s := r.Took.Seconds(); s > 0 {
		line += fmt.Sprintf(", %s/s", show.Bytes(int64(float64(r.SizeBytes-r.ResumedAt)/s)))
	}
	line += fmt.Sprintf("; %s of it zeros that were not sent", show.Bytes(r.ZeroBytes))
	if r.ResumedAt > 0 {
		line += fmt.Sprintf("; %s were there from before", show.Bytes(r.ResumedAt))
	}
	if r.Verified {
		line += "; verified in " + show.Duration(r.VerifyTook)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
