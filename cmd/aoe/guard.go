package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/hold"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/initiator/guard"
)

// guardHelp is the part of attach's help.
const guardHelp = `Of the frames that arrive, the kernel gives aoe only answers to what is
outstanding: an eBPF filter looks their tags up. That needs CAP_BPF; without it a
classic filter passes any AoE, and aoe stat -v says so.

--guard puts an XDP program on the interface, in the driver where that is
possible. While memory is fine it passes everything. When memory is short, or aoe
has not been able to say for 200 ms that it is not, the program drops every
frame but the disk's own, so that nothing else can take what memory is left.
That includes the ssh session of whoever wants to look, unless --guard-allow
names it: a list of what passes all the same.

` + guard.RuleHelp + `

Ports are this host's, addresses the others'. Traffic returns by itself when
memory is fine again; the program goes when aoe does, however it ends. Several
disks on an interface share one guard, with the list of the first; foreign frames
pass only while all of their processes say that memory is fine. --swap-safe
includes --guard.

--link xdp lets that program steer the answers to the disk into an AF_XDP
socket, before the kernel has allocated anything for them. One disk on an
interface can have it. With --swap-safe, --via nbd-kernel uses it by itself: with
the kernel's NBD client, answers that were received into the kernel's emergency
memory reach no other socket.`

// guardFlags are --guard, --guard-allow and --guard-low.
func guardFlags(f *pflag.FlagSet, on *bool, allow *rulesFlag, low *sizeFlag) {
	f.BoolVar(on, "guard", false, "when memory is short, drop all other frames that arrive (needs CAP_BPF and CAP_NET_ADMIN)")
	f.Var(low, "guard-low", "available memory in bytes that is short for the guard (0: an eighth of all)")
	f.Var(allow, "guard-allow", "what passes the guard all the same, as in arp,tcp:22@10.0.0.1")
}

// A rulesFlag is an allow list on the command line.
type rulesFlag []guard.Rule

func (r *rulesFlag) String() string {
	var all []string
	for _, rule := range *r {
		all = append(all, rule.String())
	}
	return strings.Join(all, ",")
}

func (r *rulesFlag) Type() string { return "list" }

// Set adds a list to what was said before.
func (r *rulesFlag) Set(text string) error {
	rules, err := guard.ParseRules(text)
	*r = append(*r, rules...)
	return err
}

// kernelRows are how the kernel helps, and what it has counted.
func kernelRows(t *show.Table, k *rundir.Kernel) {
	if k == nil {
		return
	}
	t.Row("  kernel", fmt.Sprintf("filter %s, guard %s", k.Tier.Filter, k.Tier.Guard))
	if k.Tier.Why != "" {
		t.Row("", "not more because: "+k.Tier.Why)
	}
	for _, cost := range k.Tier.Costs() {
		t.Row("", cost)
	}
	if f := k.Filter; f != nil {
		t.Row("  filter", fmt.Sprintf("%d kept; %d dropped: %d of no live tag, %d of other hosts, disks or ports, %d requests, %d malformed",
			f.Kept(), f.Dropped(), f.Tag+f.Command, f.Elsewhere+f.Address+f.Source+f.Destination, f.Request, f.Short+f.Version+f.EtherType))
	}
	g := k.Guard
	if g == nil {
		return
	}
	t.Row("  guard", fmt.Sprintf("%d answers and %d other frames passed; in crunch %d allowed, %d dropped, %d of them AoE that nobody waits for",
		g.Answers+g.Announcements+g.Asked, g.Passed, g.Allowed, g.Dropped+g.DroppedAoE, g.DroppedAoE))
	now := "no: everything passes"
	if g.Crunch != "" {
		now = "yes: " + g.Crunch
	}
	rules := rulesFlag(g.Allow)
	t.Row("  in crunch", fmt.Sprintf("%s; found short %d times, below %s available; allowed then: %s",
		now, g.Crunches, show.Bytes(g.LowBytes), orNothing(rules.String())))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing but the disk"
	}
	return s
}

// guarding is whether there is to be a guard: --guard insists on it,
// --swap-safe without =strict does not, and --guard=false is none.
func (c *attachConfig) guarding() hold.Guarding {
	switch {
	case c.guard:
		return hold.NeedGuard
	case c.guardIfPossible:
		return hold.WantGuard
	}
	return hold.NoGuard
}

// checkGuard refuses an allow list of no guard. It follows safely.
func (c *attachConfig) checkGuard() error {
	if len(c.guardAllow) > 0 && c.guarding() == hold.NoGuard {
		return exit.Usagef("--guard-allow without --guard: nothing is dropped")
	}
	return nil
}
