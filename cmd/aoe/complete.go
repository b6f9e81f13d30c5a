package main

import (
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/rundir"
	"aoe/frame/link/open"
)

// attached are the commands whose arguments are disks attached here.
var attached = map[string]bool{"stat": true, "detach": true, "flush": true, "revalidate": true}

// addCompletion tells the shell what can follow: interfaces, links, and disks
// that are attached. Nobody on the network is asked while somebody types.
func addCompletion(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		addCompletion(c)
	}
	complete := func(flag string, f cobra.CompletionFunc) {
		// An error means that there is no such flag, or that its owner knows better.
		_ = cmd.RegisterFlagCompletionFunc(flag, f)
	}
	complete("interface", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, err := ethernets()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	complete("link", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return open.Kinds(), cobra.ShellCompDirectiveNoFileComp
	})
	if attached[cmd.Name()] && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = completeAttached
	}
}

func completeAttached(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	var names []string
	all, err := statuses(cmd.Context(), rundir.Default(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, s := range all {
		for _, name := range []string{s.Addr.String(), s.Device} {
			if name != "" && strings.HasPrefix(name, begun) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
