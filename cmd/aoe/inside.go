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
	cmd.AddCommand(filler, watcher)
	return cmd
}
