package main

import (
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/guest/inside"
)

// newInside is what runs in the guest of aoe lab guest. It is not for people.
func newInside() *cobra.Command {
	cmd := &cobra.Command{Use: "inside", Hidden: true, Args: cobra.NoArgs}
	var fill inside.Fill
	filler := &cobra.Command{
		Use:  "fill",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return fill.Run() },
	}
	f := filler.Flags()
	f.Int64Var(&fill.Bytes, "bytes", 0, "to fill")
	f.Uint64Var(&fill.Seed, "seed", 0, "of the pattern")
	f.IntVar(&fill.UnreadBytes, "unread", 0, "bytes of a socket's room for a flood")
	f.StringVar(&fill.Interface, "interface", "eth0", "of the flood")
	f.BoolVar(&fill.Read, "read", false, "read the socket")

	once := false
	watcher := &cobra.Command{
		Use:  "watch",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once {
				return inside.Watch(cmd.Context(), 0)
			}
			return inside.Watch(cmd.Context(), time.Second)
		},
	}
	watcher.Flags().BoolVar(&once, "once", false, "tell once")
	cmd.AddCommand(filler, watcher, newInsideCheck())
	return cmd
}

// newInsideCheck writes to a disk and looks whether it is there.
func newInsideCheck() *cobra.Command {
	var check inside.Check
	cmd := &cobra.Command{
		Use:  "check",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return check.Run(cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&check.Path, "path", "", "of a device or file")
	f.Int64Var(&check.Offset, "offset", 0, "where to begin, in bytes")
	f.Int64Var(&check.Bytes, "bytes", 0, "to write and read")
	f.Uint64Var(&check.Seed, "seed", 1, "of the pattern and of the order")
	f.IntVar(&check.Rounds, "rounds", 1, "how often to touch all at random")
	f.IntVar(&check.Workers, "workers", 8, "at once")
	return cmd
}
