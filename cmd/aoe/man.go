package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/manual"
)

func newMan() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man [-o DIRECTORY | COMMAND...]",
		Short: "Write the manual pages",
		Long: `Print the manual page of aoe or of one of its commands, or write all pages into a
directory, where they are called aoe.8, aoe-attach.8 and so on. They are made of
the same definitions as the help, so they are not kept in the sources: whoever
installs the program makes them with it.

EXIT STATUS
  0  written
  1  something failed
  2  the command line was not understood`,
		Example: `  aoe man trace | man -l -
  aoe man -o /usr/local/share/man/man8`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v := readVersion().Version
			if dir != "" {
				if len(args) > 0 {
					return exit.Usagef("-o writes all pages: it takes no command")
				}
				paths, err := manual.WriteAll(cmd.Root(), dir, v)
				fmt.Fprintln(cmd.OutOrStdout(), len(paths), "pages written to", dir)
				return err
			}
			page, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 || len(manual.Pages(page)) == 0 {
				return exit.Usagef("there is no page of %q", args)
			}
			return manual.Write(cmd.OutOrStdout(), page, v)
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "", "write all pages into this `directory`")
	return cmd
}
