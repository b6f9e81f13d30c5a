package main

import (
	"context"
	"fmt"
	"io"
	"regexp"

	protocol "github.com/mdlayher/aoe"
	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
)

// A macList is what --json prints of a mask or a reserve list.
type macList struct {
	Addr      frame.Addr  `json:"address"`
	Interface string      `json:"interface"`
	Target    frame.MAC   `json:"target"`
	Own       frame.MAC   `json:"own"` // of the interface
	MACs      []frame.MAC `json:"macs"`
}

// print prints a MAC a line, like the lists that the commands take.
func (l macList) print(w io.Writer, asJSON bool, empty string) error {
	if l.MACs == nil {
		l.MACs = []frame.MAC{}
	}
	if asJSON {
		return show.JSON(w, l)
	}
	if len(l.MACs) == 0 {
		_, err := fmt.Fprintln(w, empty)
		return err
	}
	for _, m := range l.MACs {
		note := ""
		if m == l.Own {
			note = "  " + l.Interface
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", m, note); err != nil {
			return err
		}
	}
	return nil
}

func newMask() *cobra.Command {
	var o oneDisk
	cmd := &cobra.Command{
		Use:   "mask [-i INTERFACE...] ADDRESS [+MAC|-MAC...]",
		Short: "Read or edit the list of MACs that may talk to a disk",
		Long: `A disk can keep a list of the MACs that may talk to it, and is silent towards all
others. Without a list everybody may. Print the list, a MAC a line, or add (+)
and remove (-) MACs in the given order, and print what it has become. "self" is
the MAC of the interface that the disk was found on, which is marked in the list.

Adding the first MAC shuts out everybody else, the caller too: add "self" first,
or the disk does not answer any more. A MAC is no password: whoever is on the
segment can send frames with any. vblade (25) crashes when a MAC is removed.

A target decides who may edit: see --wire-edits of ` + "`aoe serve`" + `.

EXIT STATUS
  0  done
  1  something failed, or the disk refused the edit
  2  the command line was not understood
  3  nobody answered; that is also what a disk does whose list has not this MAC`,
		Example: `  aoe mask e1.1
  aoe mask -i eth0 e1.1 +self +02:00:00:00:00:07
  aoe mask -i eth0 e1.1 -02:00:00:00:00:07`,
		// pflag would take -02:00:... for flags.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, edits, err := parseMaskArgs(cmd, args)
			if err != nil || name == "" {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			got, err := editMask(ctx, o, name, edits)
			if err != nil {
				return err
			}
			return got.print(cmd.OutOrStdout(), o.json, "everybody")
		},
	}
	o.flags(cmd)
	return cmd
}

// isEdit tells +MAC and -MAC from flags and values of flags.
var isEdit = regexp.MustCompile(`^[-+](self|[0-9A-Fa-f]{2}([:-]?[0-9A-Fa-f]{2}){5})$`)

// parseMaskArgs takes the edits out of the arguments, has the flags parsed that cobra
// left alone, and returns the address. It is empty if help was asked for, and given.
func parseMaskArgs(cmd *cobra.Command, args []string) (name string, edits []string, err error) {
	edits, rest := maskEdits(args)
	if err := cmd.Flags().Parse(rest); err != nil {
		return "", nil, exit.With(exit.Usage, err)
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return "", nil, cmd.Help()
	}
	if rest = cmd.Flags().Args(); len(rest) != 1 || rest[0] == "" {
		return "", nil, exit.Usagef("want one address, then +MAC and -MAC; got %q", rest)
	}
	return rest[0], edits, nil
}

// maskEdits takes the edits out of the arguments.
func maskEdits(args []string) (edits, rest []string) {
	for i, a := range args {
		if a == "--" {
			return edits, append(rest, args[i+1:]...)
		}
		if isEdit.MatchString(a) {
			edits = append(edits, a)
		} else {
			rest = append(rest, a)
		}
	}
	return edits, rest
}

func editMask(ctx context.Context, o oneDisk, name string, edits []string) (macList, error) {
	d, err := o.find(ctx, name)
	if err != nil {
		return macList{}, err
	}
	defer d.Close()
	got := macList{Addr: d.Addr, Interface: d.Interface, Target: d.MAC, Own: d.Link.State().MAC}
	var directives []frame.MaskDirective
	for _, e := range edits {
		mac, err := macOrSelf(e[1:], got.Own)
		if err != nil {
			return got, err
		}
		directive := protocol.DirectiveCommandAdd
		if e[0] == '-' {
			directive = protocol.DirectiveCommandDelete
		}
		directives = append(directives, frame.MaskDirective{Directive: directive, MAC: mac})
	}
	err = o.ask(ctx, func(ctx context.Context) error {
		got.MACs, err = initiator.MaskList(ctx, d.Link, d.Target, directives...)
		return err
	})
	return got, editError(err)
}

// macOrSelf reads a MAC; self is own.
func macOrSelf(s string, own frame.MAC) (frame.MAC, error) {
	if s == "self" {
		return own, nil
	}
	mac, err := frame.ParseMAC(s)
	return mac, exit.With(exit.Usage, err)
}
