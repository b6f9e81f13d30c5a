package main

import (
	"runtime"
	"strings"
	"testing"

	"aoe/frame/link/open"
	"aoe/frame/link/xdp"
)

// TestWhoNeedsXDP: who swaps through the kernel's NBD client, and has not said
// otherwise.
func TestWhoNeedsXDP(t *testing.T) {
	linux := runtime.GOOS == "linux"
	for _, row := range []struct {
		c    attachConfig
		want bool
	}{
		{attachConfig{swapSafe: swapSafeWarn, via: "nbd-kernel"}, linux},
		{attachConfig{swapSafe: swapSafeStrict, via: "nbd-kernel"}, linux},
		{attachConfig{swapSafe: swapSafeOff, via: "nbd-kernel"}, false},
		{attachConfig{swapSafe: swapSafeWarn, via: "ublk"}, false},
		{attachConfig{swapSafe: swapSafeWarn, via: "nbd"}, false},
		{attachConfig{swapSafe: swapSafeWarn, via: "nbd-kernel", linkKind: open.Ring}, false},
		{attachConfig{swapSafe: swapSafeWarn, via: "nbd-kernel", linkKind: open.Raw}, false},
	} {
		if got := row.c.needsXDP(); got != row.want {
			t.Errorf("--swap-safe=%s --via %s --link %q: %v, want %v", row.c.swapSafe, row.c.via, row.c.linkKind, got, row.want)
		}
	}
}

// TestPlanOfXDP bills what the kernel pins.
func TestPlanOfXDP(t *testing.T) {
	c := attachConfig{maxRequest: 128 << 10, reserved: 1, depth: 4, linkKind: open.XDP}
	p, err := c.billFor(e11, 9000)
	if err != nil {
		t.Fatal(err)
	}
	_, _, bytes := xdp.Memory(9000, 0)
	if p.KernelBytes != int64(bytes) || !strings.Contains(p.Kernel[0].What, "AF_XDP") {
		t.Errorf("the kernel's part is %d bytes, want %d: %+v", p.KernelBytes, bytes, p.Kernel)
	}
}
