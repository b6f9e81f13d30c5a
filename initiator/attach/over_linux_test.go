package attach_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/attach"
)

// TestFUSEOverTheNetwork: a file system on a block device on a file system on
// the initiator on a network that loses frames: files survive detaching.
func TestFUSEOverTheNetwork(t *testing.T) {
	needsLoop(t)
	program(t, "mkfs.ext4", "e2fsprogs")
	noLeaks(t)
	sw := linktest.Config{MTU: 9000, Seed: uint64(time.Now().UnixNano()), Faults: linktest.Faults{Loss: 0.005}}
	t.Logf("seed %d", sw.Seed)
	disk, _ := openAoE(t, sw, initiator.Config{})
	dir, point := filepath.Join(t.TempDir(), "e1.1"), t.TempDir()
	files := func(check func(name string, data []byte)) {
		for i := range 10 {
			check(filepath.Join(point, fmt.Sprint(i)), pattern(uint64(i), 100_003*(i+1)/2))
		}
	}

	d := attachFUSE(t, attach.FUSEConfig{Disk: attach.Over(disk), Dir: dir})
	run(t, "mkfs.ext4", "-q", "-F", d.Path)
	mountAt(t, d.Path, point, "")
	files(func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	unmount(t, point)
	closeDevice(t, d)

	d = attachFUSE(t, attach.FUSEConfig{Disk: attach.Over(disk), Dir: dir})
	mountAt(t, d.Path, point, "ro")
	files(func(name string, data []byte) {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is not what was written (%v)", name, err)
		}
	})
	unmount(t, point)
}
