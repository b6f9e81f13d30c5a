package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/seek"
	"aoe/cmd/internal/show"
	"aoe/cmd/internal/smart"
	"aoe/frame"
	"aoe/initiator"
)

// An identifyConfig is the command line of aoe identify.
type identifyConfig struct {
	oneDisk
	raw, hex bool
	smart    string
}

// An identity is what --json prints.
type identity struct {
	Interface string `json:"interface"`
	initiator.Target
	SizeBytes int64          `json:"sizeBytes"`
	Identify  frame.Identify `json:"identify"`
}

func newIdentify() *cobra.Command {
	var c identifyConfig
	cmd := &cobra.Command{
		Use:   "identify [-i INTERFACE...] ADDRESS",
		Short: "Print what a disk says that it is, or send it a SMART command",
		Long: `Ask a disk what it is (ATA IDENTIFY DEVICE) and print the fields that matter here.
--raw writes the 512 bytes as they came, --hex prints them.

--smart COMMAND sends a SMART command instead and prints the sector that is the
answer, if there is one. The commands are those of aoeping(8):
  ` + smart.Names() + `
read_log and write_log take the number of the log, as in read_log:1; write_log
reads one sector from the standard input. return_status prints the verdict. Few
targets pass SMART on: files have none, and the disk then aborts the command.

EXIT STATUS
  0  printed; return_status: the disk expects no failure
  1  something failed, or the disk aborted the command, or expects to fail
  2  the command line was not understood
  3  nobody answered`,
		Example: `  aoe identify e1.1
  aoe identify -i eth0 e1.1 --raw | hexdump -C
  aoe identify -i eth0 e1.1 --smart return_status`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			if c.raw && c.hex || c.json && (c.raw || c.hex) {
				return exit.Usagef("--raw, --hex and --json: one of them")
			}
			var command smart.Command
			if c.smart != "" {
				var err error
				if command, err = smart.Parse(c.smart); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			d, err := c.find(ctx, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			if c.smart != "" {
				return c.sendSMART(ctx, d, command, cmd.InOrStdin(), cmd.OutOrStdout())
			}
			return c.identify(ctx, d, cmd.OutOrStdout())
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&c.raw, "raw", false, "write the 512 bytes as they are")
	f.BoolVar(&c.hex, "hex", false, "print the 512 bytes in hexadecimal")
	f.StringVarP(&c.smart, "smart", "S", "", "send this SMART `COMMAND[:N]` instead")
	return cmd
}

func (c identifyConfig) identify(ctx context.Context, d *seek.Disk, w io.Writer) error {
	var data []byte
	err := c.ask(ctx, func(ctx context.Context) (err error) {
		_, data, err = initiator.IssueATA(ctx, d.Link, d.Target, frame.NewATA(frame.OpIdentify, 0, 1), nil, 1)
		return err
	})
	if err != nil {
		return err
	}
	if c.raw || c.hex {
		return printSector(w, data, c.raw)
	}
	id, err := frame.ParseIdentify(data)
	if err != nil {
		return fmt.Errorf("%s: what it says of itself is damaged: %w", d.Addr, err)
	}
	if c.json {
		return show.JSON(w, identity{d.Interface, d.Target, int64(id.Sectors) * frame.SectorSize, id})
	}
	printIdentify(w, id)
	t := show.NewTable("", "")
	t.Row("sectors", fmt.Sprintf("512 bytes, %d physically", id.PhysicalSectorSize))
	t.Row("addresses", map[bool]string{true: "28 bits", false: "48 bits"}[id.LBA28])
	t.Row("trim", map[bool]string{true: "reads as zeros", false: "what it leaves is undefined"}[id.TrimZeroes])
	t.Row("target", fmt.Sprintf("%s on %s, %d buffers, %d sectors in a frame, firmware %s",
		d.MAC, d.Interface, d.BufferCount, d.MaxSectors, "0x"+strconv.FormatUint(uint64(d.Firmware), 16)))
	if id.Instance != 0 {
		t.Row("instance", id.Instance.String())
	}
	if id.Verifier != 0 {
		t.Row("verifier", id.Verifier.String())
	}
	t.Row("config", fmt.Sprintf("%q", d.ConfigString))
	return t.Print(w)
}

// printSector writes a sector as it is, or in hexadecimal.
func printSector(w io.Writer, data []byte, raw bool) error {
	if raw {
		_, err := w.Write(data)
		return err
	}
	_, err := io.WriteString(w, hex.Dump(data))
	return err
}

func (c identifyConfig) sendSMART(ctx context.Context, d *seek.Disk, command smart.Command, in io.Reader, w io.Writer) error {
	var out []byte
	if command.Writes() {
		out = make([]byte, frame.SectorSize)
		if _, err := io.ReadFull(in, out); err != nil {
			return fmt.Errorf("the standard input has to be the sector to write, 512 bytes: %w", err)
		}
	}
	var answer smart.Answer
	err := c.ask(ctx, func(ctx context.Context) (err error) {
		answer, err = smart.Send(ctx, d.Link, d.Target, command, out)
		return err
	})
	if _, ok := errors.AsType[*initiator.ATAError](err); ok {
		return fmt.Errorf("%s does not serve SMART, or has it disabled: %w", d.Addr, err)
	}
	if err != nil {
		return err
	}
	switch {
	case c.json:
		err = show.JSON(w, answer)
	case answer.Data != nil:
		err = printSector(w, answer.Data, c.raw)
	case answer.Verdict != "":
		_, err = fmt.Fprintln(w, strings.TrimSpace(answer.Verdict))
	}
	if err == nil && answer.Failing {
		err = exit.Silent(exit.Failed)
	}
	return err
}
