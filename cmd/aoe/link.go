package main

import (
	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/frame/link"
	"aoe/frame/link/ring"
)

// linkFlag is --link, the implementation of the port.
func linkFlag(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "link", "", "how to receive and send: ring (Linux) or raw (default the best there is)")
}

// openLink opens an interface.
func openLink(name, kind string) (link.Link, error) {
	switch kind {
	case "", "ring":
		return ring.Open(ring.Config{Interface: name})
	}
	return nil, exit.Usagef("--link %q: want ring or raw", kind)
}
