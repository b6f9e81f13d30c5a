package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/tier"
	"aoe/frame/link"
	"aoe/frame/link/ring"
	"aoe/frame/link/xdp"
	"aoe/reserve/harden"
)

// What --swap-safe can be.
const (
	swapSafeOff    = ""
	swapSafeWarn   = "warn"
	swapSafeStrict = "strict"
)

// swapSafeHelp is the part of attach's help.
const swapSafeHelp = `--swap-safe prepares the process for a machine that swaps to the disk: memory
reclaim waits for none of its threads, its memory is locked, its I/O threads
are real-time ones, the kernel does not kill it for memory, its collector is
off, and it writes no log. vm.watermark_boost_factor is 0 until it is detached.
Requests are sent again for ever. Each step is printed
to standard error with its outcome, what a failed one costs, and how to mend it;
with --swap-safe=strict a failed one refuses to attach. aoe stat -v shows the
steps again, and the tier: what is guaranteed when memory runs out.`

// Defaults of a disk that is swapped to: what a swapping kernel has in flight,
// and enough of it guaranteed to go on at a useful rate.
const (
	swapDepth    = 32
	swapReserved = 4
)

// Those of the kernel's NBD client: short requests, and as many guaranteed as it is
// allowed to send, so that none of them ever lies in its socket for want of a place
// here: what it sends there is copied to the kernel's last memory. They take as
// much memory as the others' four.
const (
	swapNBDRequests = 16
	swapNBDLongest  = 32 << 10
)

// swapSafeFlag is --swap-safe, which can stand alone.
func swapSafeFlag(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "swap-safe", swapSafeOff, "prepare for swapping to the disk; strict: or refuse to attach")
	f.Lookup("swap-safe").NoOptDefVal = swapSafeWarn
}

// filterStep is the filter that knows the disk's tags: no step of the process, but
// left out in the same way.
const filterStep = "filter"

// withoutFlag is for finding out what each step is good for, and not in the help:
// nobody should leave one out who swaps to the disk.
func withoutFlag(f *pflag.FlagSet, to *[]string) {
	const name = "swap-safe-without"
	f.StringSliceVar(to, name, nil, "steps of --swap-safe to leave out: "+strings.Join(append(harden.Names(), filterStep), ", "))
	f.Lookup(name).Hidden = true
}

// safely changes the defaults of what was not said.
func (c *attachConfig) safely(f *pflag.FlagSet) error {
	switch c.swapSafe {
	case swapSafeOff:
		return nil
	case swapSafeWarn, swapSafeStrict:
	default:
		return exit.Usagef("--swap-safe=%s: want --swap-safe or --swap-safe=strict", c.swapSafe)
	}
	depth, reserved := swapDepth, swapReserved
	if c.way() == nbdInKernel {
		depth, reserved = swapNBDRequests, swapNBDRequests
		if !f.Changed("max-request") {
			c.maxRequest = swapNBDLongest
		}
	}
	for _, d := range []struct {
		flag  string
		value *int
		safe  int
	}{{"deadsecs", &c.deadsecs, -1}, {"depth", &c.depth, depth}, {"reserved", &c.reserved, reserved}} {
		if !f.Changed(d.flag) {
			*d.value = d.safe
		}
	}
	if !f.Changed("poll") {
		c.poll = 0 // its threads are real-time ones: others reclaim memory meanwhile
	}
	c.lock = true
	if !f.Changed("guard") {
		c.guard = c.swapSafe == swapSafeStrict
		c.guardIfPossible = true
	}
	return nil
}

// harden takes the first steps. It has to come before anything that makes
// threads or opens files: it may execute this program again, from the start.
func (c *attachConfig) harden(stderr io.Writer) (err error) {
	if c.swapSafe == swapSafeOff {
		return nil
	}
	without := slices.DeleteFunc(slices.Clone(c.without), func(name string) bool { return name == filterStep })
	c.process, err = harden.Begin(harden.Config{Strict: c.swapSafe == swapSafeStrict, Without: without})
	if err == nil {
		err = c.process.Prepare()
	}
	if err != nil {
		return c.refused(stderr, err)
	}
	return nil
}

// unharden gives back what is the machine's.
func (c *attachConfig) unharden() error {
	if c.process == nil {
		return nil
	}
	return c.process.Close()
}

// refused prints the steps behind an error.
func (c *attachConfig) refused(stderr io.Writer, err error) error {
	if c.process != nil {
		if _, werr := c.process.Steps().WriteTo(stderr); werr != nil {
			return werr
		}
	}
	return err
}

// linkFacts are what the tier needs to know of the port.
func linkFacts(l link.Link) tier.Facts {
	_, mapped := l.(*ring.Link)
	_, steered := l.(*xdp.Link)
	return tier.Facts{Ring: mapped || steered, XDP: steered, Filter: tier.ClassicFilter}
}
