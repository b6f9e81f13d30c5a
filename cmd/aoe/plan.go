package main

import (
	"errors"
	"fmt"
	"io"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link/open"
	"aoe/frame/link/ring"
	"aoe/frame/link/xdp"
	"aoe/initiator"
	"aoe/reserve"
)

// An attachPlan is the bill of an attached disk: what this process reserves, and
// what the kernel does on its behalf.
type attachPlan struct {
	reserve.Plan
	Kernel []reserve.Line `json:"kernel"`

	// Sums in bytes: reserved at start by us, by the kernel, and what ordinary
	// allocation may add. Locked is what can never be swapped out.
	ReservedBytes int64 `json:"reservedBytes"`
	KernelBytes   int64 `json:"kernelBytes"`
	NormalBytes   int64 `json:"normalBytes"`
	// ProcessBytes is what --swap-safe takes for the process besides.
	ProcessBytes int64 `json:"processBytes,omitempty"`
	LockedBytes  int64 `json:"lockedBytes"`
	// NotReserved is what no plan can promise.
	NotReserved string `json:"notReserved"`
	// Unbacked says why attaching would fail now, if it would.
	Unbacked string `json:"unbacked,omitempty"`

	locked bool
}

// processBytes is what a process takes from when it has been hardened until it is
// sealed, buffers and rings apart: 4 MiB that its heap has to spare, the stacks of
// its threads, programs and tables of the kernel. In a guest of 128 MiB MemAvailable
// fell by 14.6 MiB with ublk, of which 5 were buffers and a ring. What is more than
// those 9.6 is for the machine to go on with: one of 104 MiB that had 14.6 as well, and
// so 0 when the disk was attached, never ran a program again.
const processBytes = 12 << 20

// printPlan prints the bill for the interface's MTU. It needs no privilege. The
// error is that of a plan that this machine could not back.
func (c attachConfig) printPlan(w io.Writer, addr frame.Addr) error {
	p, err := c.bill(addr)
	if err != nil {
		return err
	}
	unbacked := p.check()
	if unbacked != nil {
		p.Unbacked = unbacked.Error()
	}
	if c.json {
		return errors.Join(show.JSON(w, p), unbacked)
	}
	return errors.Join(p.print(w), unbacked)
}

// checkRoom refuses what the machine has no memory for, before any of that is taken:
// a machine that gives its last page to be safe when it swaps does not live to swap.
// Who takes over is not asked: the machine may be waiting for just that.
func (c attachConfig) checkRoom(addr frame.Addr) error {
	if c.takeOver {
		return nil
	}
	p, err := c.bill(addr)
	if err != nil {
		return err
	}
	return p.check()
}

// check reports whether the machine can back the plan now.
func (p attachPlan) check() error { return p.Check(p.KernelBytes + p.ProcessBytes) }

// bill is that of the interfaces' greatest MTU.
func (c attachConfig) bill(addr frame.Addr) (attachPlan, error) {
	if c.ifname == "" {
		return attachPlan{}, exit.Usagef("no interface: say -i eth0")
	}
	mtu := 0
	for _, name := range append([]string{c.ifname}, c.others()...) {
		one, err := mtuOf(name)
		if err != nil {
			return attachPlan{}, err
		}
		mtu = max(mtu, one)
	}
	return c.billFor(addr, mtu)
}

func (c attachConfig) billFor(addr frame.Addr, mtu int) (attachPlan, error) {
	bill, err := c.disk(addr).Plan(mtu, 0)
	if err != nil {
		return attachPlan{}, err
	}
	p := attachPlan{Plan: bill, ReservedBytes: bill.Total(), NormalBytes: bill.NormalTotal(), locked: c.lock}
	switch {
	case c.linkKind == open.XDP || c.needsXDP():
		chunks, size, bytes := xdp.Memory(mtu, 0)
		p.Kernel = append(p.Kernel,
			reserve.Line{What: "AF_XDP memory", Count: chunks, Size: size, Why: "chunks that the kernel has pinned, for each queue of the interface: what is received between two turns of the loop"},
			reserve.Line{What: "its rings", Count: 1, Size: bytes - chunks*size, Why: "which chunks are free, and which are filled"})
	case c.linkKind == open.Ring || c.linkKind == open.Best && open.Kinds()[0] == open.Ring:
		slots, size, bytes := ring.Memory(mtu, 0)
		p.Kernel = append(p.Kernel,
			reserve.Line{What: "receive ring", Count: slots, Size: size, Why: "slots of the mapped AF_PACKET ring: what is received between two turns of the loop"},
			reserve.Line{What: "its blocks' ends", Count: 1, Size: bytes - slots*size, Why: "the kernel takes blocks of whole pages, and no slot goes over the end of one"})
	}
	for i := range p.Kernel {
		p.Kernel[i].Count *= 1 + len(c.others()) // one for each interface
	}
	for _, l := range p.Kernel {
		p.KernelBytes += l.Bytes()
	}
	if c.swapSafe != swapSafeOff {
		p.ProcessBytes = processBytes
	}
	p.LockedBytes = p.KernelBytes
	if p.locked {
		p.LockedBytes += p.ReservedBytes
	}
	p.NotReserved = fmt.Sprintf("what the kernel allocates for each frame on its way: at most %d sent and not answered, and as many answers. What it has no memory for is lost, and sent again",
		initiator.DefaultWindow)
	return p, nil
}

// print prints the bill.
func (p attachPlan) print(w io.Writer) error {
	if _, err := p.WriteTo(w); err != nil {
		return err
	}
	t := show.NewTable("", ">", ">", ">", "")
	t.Row("in the kernel, at start", "count", "bytes each", "KiB", "why")
	for _, l := range p.Kernel {
		t.Row("  "+l.What, fmt.Sprint(l.Count), fmt.Sprint(l.Size), kib(l.Bytes()), l.Why)
	}
	t.Row("  total", "", "", kib(p.KernelBytes), "")
	if err := t.Print(w); err != nil {
		return err
	}
	locked := "locked: the frames' memory; more as it is mapped, and the rest of the process with --swap-safe"
	if !p.locked {
		locked = "not locked: the frames' memory may be swapped out (--lock, --swap-safe)"
	}
	if p.ProcessBytes > 0 {
		locked += fmt.Sprintf("\nthe process takes some %s KiB besides (--swap-safe)", kib(p.ProcessBytes))
	}
	_, err := fmt.Fprintf(w, "held from start to end: %s KiB, of which %s KiB cannot be swapped out; normal memory adds at most %s KiB\n%s\nnot reserved: %s\n",
		kib(p.ReservedBytes+p.KernelBytes), kib(p.LockedBytes), kib(p.NormalBytes), locked, p.NotReserved)
	return err
}

func kib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1024) }
