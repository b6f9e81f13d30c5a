package main

import (
	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
)

// A sizeFlag is a number of bytes on the command line: 4096, 64K, 10G.
type sizeFlag int64

func (s *sizeFlag) String() string { return show.Bytes(int64(*s)) }
func (s *sizeFlag) Type() string   { return "size" }
func (s *sizeFlag) Set(text string) error {
	n, err := show.ParseBytes(text)
	*s = sizeFlag(n)
	return err
}

// interfacesFlag is -i, which may be given more than once.
func interfacesFlag(f *pflag.FlagSet, to *[]string) {
	f.StringArrayVarP(to, "interface", "i", nil, "network interface, as in eth0; may be given more than once")
}

// interfaceFlag is -i for commands that use one.
func interfaceFlag(f *pflag.FlagSet, to *string) {
	f.StringVarP(to, "interface", "i", "", "network interface, as in eth0")
}

// parseAddr reads the address of one disk.
func parseAddr(s string) (frame.Addr, error) {
	addr, err := frame.ParseAddr(s)
	if err != nil {
		return frame.Addr{}, exit.With(exit.Usage, err)
	}
	if addr.IsWildcard() {
		return frame.Addr{}, exit.Usagef("%s may be many disks: name one, as in e1.1", s)
	}
	return addr, nil
}
