package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/control"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
)

// printMACs prints a list as aoe mask and aoe reserve do.
func (o *aTarget) printMACs(w io.Writer, macs []frame.MAC, empty string) error {
	if o.json {
		if macs == nil {
			macs = []frame.MAC{}
		}
		return show.JSON(w, macs)
	}
	if len(macs) == 0 {
		_, err := fmt.Fprintln(w, empty)
		return err
	}
	for _, m := range macs {
		if _, err := fmt.Fprintln(w, m); err != nil {
			return err
		}
	}
	return nil
}

func newTargetMask() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "mask ADDRESS [+MAC|-MAC...]",
		Short: "Read or edit the list of MACs that may talk to a disk",
		Long: `Print the mask, a MAC a line, or add (+) and delete (-) MACs in the given order,
all of them or none, and print what it has become. Without a mask everybody may
talk to the disk; to those who are not on it, it is silent. Who is on it may edit
it over the wire too, unless aoe serve has --wire-edits none. A MAC is no
password: whoever is on the segment can send frames with any.` + targetStatuses,
		Example: "  aoe target mask e1.1\n  aoe target mask e1.1 +02:00:00:00:00:0a -02:00:00:00:00:0b",
		// pflag would take -02:00:... for flags.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, edits, err := parseMaskArgs(cmd, args)
			if err != nil || name == "" {
				return err
			}
			if _, err := control.ParseMask(edits); err != nil {
				return exit.With(exit.Usage, err)
			}
			c, addr, err := o.findDisk(cmd.Context(), name)
			if err != nil {
				return err
			}
			set, err := c.Settings(cmd.Context(), addr)
			if err == nil && len(edits) > 0 {
				set, err = c.Mask(cmd.Context(), addr, edits)
			}
			if err != nil {
				return targetError(err)
			}
			return o.printMACs(cmd.OutOrStdout(), set.Mask, "everybody")
		},
	})
}

func newTargetReserve() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "reserve ADDRESS [read | set|force MAC...]",
		Short: "Read or set the list of MACs that a disk is reserved for",
		Long: `A disk that is reserved refuses commands of MACs that are not on its list, but
tells them what it is and who has it.

  read          print the list, a MAC a line; the default
  set MAC...    reserve it, if it is not reserved
  force MAC...  reserve it, whoever it is reserved for` + targetStatuses,
		Example: "  aoe target reserve e1.1\n  aoe target reserve e1.1 set 02:00:00:00:00:0a\n  aoe target release e1.1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var macs []frame.MAC
			sub := "read"
			if len(args) > 1 {
				sub = args[1]
				for _, text := range args[2:] {
					m, err := frame.ParseMAC(text)
					if err != nil {
						return exit.With(exit.Usage, err)
					}
					macs = append(macs, m)
				}
			}
			switch {
			case sub != "read" && sub != "set" && sub != "force":
				return exit.Usagef("%q: want read, set or force", sub)
			case sub == "read" && len(macs) > 0:
				return exit.Usagef("read takes no MACs")
			case sub != "read" && len(macs) == 0:
				return exit.Usagef("%s for whom? aoe target release ends a reservation", sub)
			}
			return o.reserve(cmd, args[0], sub, macs)
		},
	})
}

func newTargetRelease() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:     "release ADDRESS",
		Short:   "End the reservation of a disk, whoever it is reserved for",
		Long:    "Empty the list of MACs that a disk is reserved for, see aoe target reserve." + targetStatuses,
		Example: "  aoe target release e1.1",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.reserve(cmd, args[0], "force", nil) },
	})
}

func (o *aTarget) reserve(cmd *cobra.Command, name, sub string, macs []frame.MAC) error {
	c, addr, err := o.findDisk(cmd.Context(), name)
	if err != nil {
		return err
	}
	var set control.Settings
	if sub == "read" {
		set, err = c.Settings(cmd.Context(), addr)
	} else {
		set, err = c.Reserve(cmd.Context(), addr, macs, sub == "force")
	}
	if err != nil {
		return targetError(err)
	}
	return o.printMACs(cmd.OutOrStdout(), set.Reserve, "not reserved")
}

func newTargetConfig() *cobra.Command {
	var o aTarget
	return o.flags(&cobra.Command{
		Use:   "config ADDRESS [read | test|prefix|set|fset STRING]",
		Short: "Read, test or set the config string of a disk",
		Long: `The config string is up to 1024 bytes that a disk keeps for whoever uses it.

  read           print it; the default
  test STRING    is it this? status 0 if so, else 1
  prefix STRING  does it begin so?
  set STRING     set it, if there is none or the same
  fset STRING    set it, whatever it was; '' removes it` + targetStatuses,
		Example: "  aoe target config e1.1\n  aoe target config e1.1 set 'rack 7'",
		Args:    cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			sub := "read"
			if len(args) > 1 {
				sub = args[1]
			}
			if _, ok := configCommands[sub]; !ok {
				return exit.Usagef("%q: want read, test, prefix, set or fset", sub)
			}
			if (sub == "read") != (len(args) < 3) {
				return exit.Usagef("want a string behind test, prefix, set and fset, and none behind read")
			}
			return o.config(cmd, args[0], sub, []byte(strings.Join(args[min(len(args), 2):], "")))
		},
	})
}

func (o *aTarget) config(cmd *cobra.Command, name, sub string, text []byte) error {
	c, addr, err := o.findDisk(cmd.Context(), name)
	if err != nil {
		return err
	}
	var set control.Settings
	if sub == "set" || sub == "fset" {
		set, err = c.Config(cmd.Context(), addr, text, sub == "fset")
	} else {
		set, err = c.Settings(cmd.Context(), addr)
	}
	if err != nil {
		return targetError(err)
	}
	if sub == "test" && !bytes.Equal(set.ConfigString, text) || sub == "prefix" && !bytes.HasPrefix(set.ConfigString, text) {
		return fmt.Errorf("%s: no: its config string is %q", addr, set.ConfigString)
	}
	if o.json {
		return show.JSON(cmd.OutOrStdout(), string(set.ConfigString))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", set.ConfigString)
	return err
}
