package main

import (
	"encoding/json"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"

	"aoe/frame"
	"aoe/frame/link/ring"
	"aoe/reserve"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// TestPlanOfSwapSafe: the flag's defaults, the kernel's part, and sums that are
// those of the lines.
func TestPlanOfSwapSafe(t *testing.T) {
	cmd := newAttach()
	if err := cmd.ParseFlags([]string{"--swap-safe"}); err != nil {
		t.Fatal(err)
	}
	c := attachConfig{maxRequest: 128 << 10, swapSafe: swapSafeWarn}
	if err := c.safely(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	if c.deadsecs != -1 || c.depth != swapDepth || c.reserved != swapReserved || !c.lock {
		t.Errorf("defaults of --swap-safe: %+v", c)
	}
	p, err := c.billFor(e11, 9000)
	if err != nil {
		t.Fatal(err)
	}
	var reserved, kernel int64
	for _, l := range p.Lines {
		if !l.Normal {
			reserved += l.Bytes()
		}
	}
	for _, l := range p.Kernel {
		kernel += l.Bytes()
	}
	if p.ReservedBytes != reserved || p.KernelBytes != kernel || p.LockedBytes != reserved+kernel || p.Requests != swapReserved {
		t.Errorf("%+v", p)
	}
	if _, _, bytes := ring.Memory(9000, 0); runtime.GOOS == "linux" && kernel != int64(bytes) {
		t.Errorf("the ring is %d bytes, the bill says %d", bytes, kernel)
	}
	var b strings.Builder
	if err := p.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"4 at once x 17 frames x 2 buffers", "in the kernel, at start", "cannot be swapped out", "not reserved: "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	c.lock = false
	if p, err = c.billFor(e11, 9000); err != nil || p.LockedBytes != kernel {
		t.Errorf("without --lock %d bytes cannot be swapped out, want %d: %v", p.LockedBytes, kernel, err)
	}
}

// TestFlagsThatWereSaidStay, whatever --swap-safe thinks of them.
func TestFlagsThatWereSaidStay(t *testing.T) {
	cmd := newAttach()
	if err := cmd.ParseFlags([]string{"--swap-safe=strict", "--depth", "64", "--deadsecs=30"}); err != nil {
		t.Fatal(err)
	}
	c := attachConfig{depth: 64, deadsecs: 30, swapSafe: swapSafeStrict}
	if err := c.safely(cmd.Flags()); err != nil || c.depth != 64 || c.deadsecs != 30 || c.reserved != swapReserved {
		t.Errorf("%+v, %v", c, err)
	}
	c.swapSafe = "maybe"
	if err := c.safely(cmd.Flags()); err == nil || !strings.Contains(err.Error(), "--swap-safe=strict") {
		t.Errorf("--swap-safe=maybe: %v", err)
	}
}

// TestPlanThatCannotBeBackedFails, and is printed all the same: it says why.
func TestPlanThatCannotBeBackedFails(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Fatalf("no interface to plan for: %v", err)
	}
	c := attachConfig{ifname: all[0].Name, maxRequest: 128 << 10, reserved: 1 << 19, json: true}
	var b strings.Builder
	err = c.printPlan(&b, e11)
	if err == nil {
		t.Fatalf("64 GiB at least can be backed here? %s", b.String())
	}
	if !errors.Is(err, reserve.ErrNotBacked) {
		t.Fatalf("error %v", err)
	}
	var p attachPlan
	if err := json.Unmarshal([]byte(b.String()), &p); err != nil || p.Unbacked == "" || len(p.Lines) == 0 {
		t.Errorf("%v: %s", err, b.String())
	}
}

// TestAttachIsRefusedWhatCannotBeBacked, with the error of its plan, before an
// interface is opened, which takes privilege; and not who takes over.
func TestAttachIsRefusedWhatCannotBeBacked(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Fatalf("no interface to plan for: %v", err)
	}
	c := attachConfig{ifname: all[0].Name, maxRequest: 128 << 10, reserved: 1 << 19}
	cmd := newAttach()
	cmd.SetContext(t.Context())
	if _, err := c.attach(cmd, e11, nil); !errors.Is(err, reserve.ErrNotBacked) {
		t.Errorf("attach: %v", err)
	}
	c.takeOver = true
	if err := c.checkRoom(e11); err != nil {
		t.Errorf("who takes over is refused: %v", err)
	}
}

// TestSwapSafeNeedsRoomForTheProcess besides buffers and rings, and says so.
func TestSwapSafeNeedsRoomForTheProcess(t *testing.T) {
	c := attachConfig{maxRequest: 128 << 10, reserved: swapReserved, swapSafe: swapSafeWarn}
	p, err := c.billFor(e11, 9000)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.print(&b); err != nil {
		t.Fatal(err)
	}
	if p.ProcessBytes != processBytes || !strings.Contains(b.String(), "the process takes some 12288.0 KiB besides (--swap-safe)") {
		t.Errorf("%+v\n%s", p, b.String())
	}
	if err := p.check(); err != nil {
		t.Errorf("this machine: %v", err)
	}
	p.ProcessBytes = 1 << 50
	if err := p.check(); runtime.GOOS == "linux" && !errors.Is(err, reserve.ErrNotBacked) {
		t.Errorf("with a process of 1 PiB: %v", err)
	}
}
