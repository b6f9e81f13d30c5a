package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	protocol "github.com/mdlayher/aoe"
	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
)

// configCommands are the sub-commands by the names that aoecfg(8) gives them.
var configCommands = map[string]protocol.ConfigCommand{
	"read": protocol.ConfigCommandRead, "test": protocol.ConfigCommandTest, "prefix": protocol.ConfigCommandTestPrefix,
	"set": protocol.ConfigCommandSet, "fset": protocol.ConfigCommandForceSet,
}

func newCfg() *cobra.Command {
	var o oneDisk
	cmd := &cobra.Command{
		Use:   "cfg [-i INTERFACE...] ADDRESS [read | test|prefix|set|fset STRING]",
		Short: "Read, test or set the config string of a disk",
		Long: `A disk keeps a string of up to 1024 bytes for its users, who write into it who
they are, or what the disk is for. Anyone on the segment may read it; who may set
it is the target's to say: see --wire-edits of ` + "`aoe serve`" + `.

  read           print the string; the default. Of a wildcard (e1.*): all strings
  test STRING    is it STRING?
  prefix STRING  does it begin with STRING?
  set STRING     set it, if it is empty or STRING already
  fset STRING    set it, whatever it is; an empty STRING clears it

A disk answers test and prefix only if the answer is yes. It is asked first
whether it is there, so that silence has a meaning.

EXIT STATUS
  0  done; test and prefix: yes
  1  something failed, or was refused; test and prefix: no
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe cfg e1.1
  aoe cfg -i eth0 'e*.*'
  aoe cfg e1.1 set "swap of host7"
  aoe cfg e1.1 prefix "swap of" && echo taken
  aoe cfg e1.1 fset ""`,
		Args:      cobra.RangeArgs(1, 3),
		ValidArgs: []string{"read", "test", "prefix", "set", "fset"},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			sub, text, err := configCommand(args[1:])
			if err != nil {
				return err
			}
			addr, err := frame.ParseAddr(args[0])
			if err == nil && addr.IsWildcard() && sub == protocol.ConfigCommandRead {
				return readAllConfigs(ctx, o, addr, cmd.OutOrStdout())
			}
			got, err := queryConfig(ctx, o, args[0], sub, text)
			if err != nil {
				return err
			}
			return printConfig(cmd.OutOrStdout(), got, o.json)
		},
	}
	o.flags(cmd)
	return cmd
}

// configCommand reads what follows the address.
func configCommand(args []string) (sub protocol.ConfigCommand, text string, err error) {
	if len(args) == 0 {
		return protocol.ConfigCommandRead, "", nil
	}
	sub, ok := configCommands[args[0]]
	if !ok {
		return 0, "", exit.Usagef("%q: want read, test, prefix, set or fset", args[0])
	}
	if sub == protocol.ConfigCommandRead && len(args) > 1 {
		return 0, "", exit.Usagef("read takes no string")
	}
	if sub != protocol.ConfigCommandRead && len(args) < 2 {
		return 0, "", exit.Usagef("%s takes a string; \"\" is the empty one", args[0])
	}
	if len(args) > 1 {
		text = args[1]
	}
	if len(text) > frame.MaxConfigString {
		return 0, "", exit.Usagef("the string has %d bytes: at most %d", len(text), frame.MaxConfigString)
	}
	return sub, text, nil
}

// queryConfig finds the disk and asks it.
func queryConfig(ctx context.Context, o oneDisk, name string, sub protocol.ConfigCommand, text string) (initiator.Target, error) {
	d, err := o.find(ctx, name)
	if err != nil {
		return initiator.Target{}, err
	}
	defer d.Close()
	if sub == protocol.ConfigCommandRead {
		return d.Target, nil // it was told when the disk was found
	}
	var got initiator.Target
	err = o.ask(ctx, func(ctx context.Context) error {
		got, err = initiator.QueryConfig(ctx, d.Link, d.Target, sub, text)
		return err
	})
	asks := sub == protocol.ConfigCommandTest || sub == protocol.ConfigCommandTestPrefix
	if asks && errors.Is(err, initiator.ErrNoAnswer) && ctx.Err() == nil {
		return got, exit.With(exit.Failed, fmt.Errorf("%s: no: its config string is %q", d.Addr, d.ConfigString))
	}
	if e, ok := errors.AsType[*initiator.TargetError](err); ok && e.Code == protocol.ErrorConfigStringPresent {
		err = fmt.Errorf("%s has a config string, %q: fset replaces it", d.Addr, d.ConfigString)
	}
	return got, editError(err)
}

func printConfig(w io.Writer, t initiator.Target, asJSON bool) error {
	if asJSON {
		return show.JSON(w, t)
	}
	_, err := fmt.Fprintln(w, t.ConfigString)
	return err
}

// readAllConfigs asks every disk that a wildcard covers.
func readAllConfigs(ctx context.Context, o oneDisk, addr frame.Addr, w io.Writer) error {
	all, err := discoverConfig{interfaces: o.interfaces, linkKind: o.linkKind, wait: o.timeout, quick: true}.discover(ctx, addr)
	if err != nil {
		return err
	}
	if o.json {
		err = show.JSON(w, all)
	} else {
		t := show.NewTable(">", "", "", "")
		for _, d := range all {
			t.Row(d.Addr.String(), d.Interface, d.MAC.String(), fmt.Sprintf("%q", d.ConfigString))
		}
		err = t.Print(w)
	}
	if err == nil && len(all) == 0 {
		return exit.With(exit.NoAnswer, errors.New("nobody answered"))
	}
	return err
}
