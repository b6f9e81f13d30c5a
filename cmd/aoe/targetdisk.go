package main

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/control"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/target"
)

func newTargetAdd() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "add ADDRESS PATH|URI [OPTION...]",
		Short: "Serve one more disk",
		Long: `Serve PATH as the disk ADDRESS from now on, and announce it. The options are those
of a line of the file of aoe serve --config:

  mode=sync|flush|direct   what an answered write is worth
  read-only                refuse writes
  snapshot                 write to a private layer that is gone with the disk
  snapshot-file=FILE       write to the layer in this file
  offset=SIZE length=SIZE  what of the file is served
  serial=TEXT              what IDENTIFY tells
  buffers=N                the buffer count to advertise
  mask=MAC,MAC             who may talk to the disk
  config-string=TEXT       what it begins with
  wire-edits=none|listed|any

It is served until the target ends, or aoe target remove.` + targetStatuses,
		Example: "  aoe target add e1.3 /srv/three.img\n  aoe target add -t lab e1.4 /dev/sdb read-only mask=02:00:00:00:00:0a",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := os.Getwd()
			if err != nil {
				return err
			}
			d, err := conf.ParseDisk(args, dir)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			c, err := o.find(cmd.Context(), nil)
			if err != nil {
				return err
			}
			if err := c.Add(cmd.Context(), d); err != nil {
				return targetError(err)
			}
			return o.printDisk(cmd.Context(), cmd.OutOrStdout(), c, d.Addr)
		},
	})
}

func newTargetRemove() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Serve a disk no longer",
		Long: `Serve a disk no longer, and return when what was under way is answered and
synced, and its file closed. Whoever still uses the disk gets no answers from then
on: look at aoe target stat before. An error of the last sync is this command's.

A disk that stands in the file of --config comes back with the next reload. What
was set of it (mask, reserve list, config string) is kept for when it does.` + targetStatuses,
		Example: "  aoe target remove e1.3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, addr, err := o.findDisk(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return targetError(c.Remove(cmd.Context(), addr))
		},
	})
}

func newTargetResize() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "resize ADDRESS SIZE|all",
		Short: "Serve another part of what a disk is made of, and announce the new size",
		Long: `Serve SIZE bytes of what the disk is made of from now on, or all there is. All
grows with the file by itself: this is for a disk of a given length. The file must
be large enough already. Linux sees a new size when it is announced; a file system
on it has to be told (resize2fs).

Shrinking makes what is behind the new end unreachable, at once.` + targetStatuses,
		Example: "  truncate -s 20G /srv/three.img\n  aoe target resize e1.3 20G\n  aoe target resize e1.3 all",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var length int64
			if args[1] != "all" {
				var err error
				if length, err = show.ParseBytes(args[1]); err != nil {
					return exit.With(exit.Usage, err)
				}
				if length == 0 {
					return exit.Usagef("a size of 0: want some, or all")
				}
			}
			c, addr, err := o.findDisk(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.Resize(cmd.Context(), addr, length); err != nil {
				return targetError(err)
			}
			return o.printDisk(cmd.Context(), cmd.OutOrStdout(), c, addr)
		},
	})
}

// printDisk prints the line, or the JSON, of one disk.
func (o *aTarget) printDisk(ctx context.Context, w io.Writer, c *control.Client, addr frame.Addr) error {
	st, err := c.Status(ctx)
	if err != nil {
		return targetError(err)
	}
	st.Disks = slices.DeleteFunc(st.Disks, func(e inventory.Entry) bool { return e.Addr != addr })
	st.Stats.Disks = slices.DeleteFunc(st.Stats.Disks, func(d target.DiskStats) bool { return d.Addr != addr })
	if o.json {
		return show.JSON(w, st.Stats.Disks)
	}
	return printTargets(w, []control.Status{st})
}
