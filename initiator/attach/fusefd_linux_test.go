package attach_test

import (
	"os/exec"
	"strings"
	"testing"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// TestFUSEIsNotInherited: a child that kept /dev/fuse open would keep the device
// from failing when this process dies.
func TestFUSEIsNotInherited(t *testing.T) {
	needsLoop(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Info: discarding})
	attachFUSE(t, attach.FUSEConfig{Disk: disk})
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("a child has it open:\n%s", out)
	}
}
