package main

import (
	"os"
	"regexp"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/live"
)

// TestLabHTTP: the address is printed, and the status is the command's; without
// the address there is no lab.
func TestLabHTTP(t *testing.T) {
	taken, err := live.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := regexp.MustCompile(`[0-9.]+:[0-9]+`).FindString(taken.URL())
	if _, stderr, status := aoe(t, "lab", "--http", address, "--", "true"); status != exit.LabFailed || stderr == "" {
		t.Errorf("an address that is taken: %d, %s", status, stderr)
	}
	if _, _, status := aoe(t, "lab", "--http", address); status != exit.Failed {
		t.Errorf("an address that is taken: %d", status)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: network namespaces and raw sockets")
	}
	out, stderr, status := aoe(t, "lab", "--http", "127.0.0.1:0", "--dir", t.TempDir(), "--via", "nbd", "--", "sh", "-c", "echo $AOE_ADDR; exit 9")
	if status != 9 || out != "e1.1\n" || !regexp.MustCompile(`(?m)^aoe lab: live at http://127\.0\.0\.1:[1-9][0-9]*/$`).MatchString(stderr) {
		t.Errorf("%d: %s%s", status, out, stderr)
	}
}
