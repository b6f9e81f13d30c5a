package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"aoe/initiator"
	"aoe/target/store/storetest"
)

// writeBlock writes a block full of b.
func writeBlock(t *testing.T, disk *initiator.Disk, at int64, b byte) []byte {
	t.Helper()
	block := bytes.Repeat([]byte{b}, blockSize)
	if _, err := disk.WriteAt(block, at*blockSize); err != nil {
		t.Fatal(err)
	}
	return block
}

// wantForgotten wants one flush to say that writes are missing, and the next not.
func wantForgotten(t *testing.T, disk *initiator.Disk) {
	t.Helper()
	if err := disk.Flush(t.Context()); !errors.Is(err, initiator.ErrForgotten) {
		t.Errorf("the first flush after the target had forgotten what was written: %v", err)
	}
	if err := disk.Flush(t.Context()); err != nil {
		t.Errorf("the second: %v", err)
	}
}

// TestH17FlushAfterPowerCut: a write is acknowledged in flush mode, the storage
// loses its power, and the target is back before anybody has noticed. The flush
// says so, and later ones are about what was written later.
func TestH17FlushAfterPowerCut(t *testing.T) {
	b := newBed(t, 9000)
	dir := filepath.Join(b.dir, "power")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	storage := storetest.NewCrash(loadBytes)
	fs, unmount := mountPower(t, dir, storage)
	path := filepath.Join(dir, "disk")
	server := b.launch(t, path, "--mode", "flush")
	disk := b.openDisk(t)
	defer disk.Close()

	kept := writeBlock(t, disk, 0, 1)
	if err := disk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := writeBlock(t, disk, 1, 2)
	server.kill(t)
	close(fs.gone)
	unmount()
	storage = storage.Restart(rand.New(rand.NewPCG(1, 0)))
	_, unmount = mountPower(t, dir, storage)
	server = b.launch(t, path, "--mode", "flush")
	wantForgotten(t, disk)

	block := make([]byte, blockSize)
	if _, err := disk.ReadAt(block, 0); err != nil || !bytes.Equal(block, kept) {
		t.Errorf("what was flushed is not there: %v", err)
	}
	if _, err := disk.ReadAt(block, blockSize); err != nil || bytes.Equal(block, lost) {
		t.Errorf("nothing was lost: the test tests nothing (%v)", err)
	}
	writeBlock(t, disk, 1, 3)
	if err := disk.Flush(t.Context()); err != nil {
		t.Errorf("a flush of what was written later: %v", err)
	}
	server.stop(t)
	unmount()
}

// otherBoot says in a mount namespace of its own that the machine was started
// anew. A FUSE file system must not be kept from ending there.
const otherBoot = `mount --bind "$1" /proc/sys/kernel/random/boot_id &&
	awk '$3 ~ /^fuse/ { print $2 }' /proc/self/mounts | xargs -r umount --lazy &&
	shift && exec "$@"`

// reboot is launch in flush mode on a machine that was started anew, as far as it
// can be seen from boot_id.
func (b *bed) reboot(t *testing.T, path string) *proc {
	t.Helper()
	needProgram(t, "unshare", "util-linux")
	id := filepath.Join(b.dir, "boot_id")
	if err := os.WriteFile(id, []byte("7d5c7a49-0b9c-4a3f-9a55-53c9a1d2b0e1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, b.target, "unshare", "--mount", "sh", "-c", otherBoot, "sh", id,
		binary, "serve", "-i", b.target.Interface, "--serial", "load", "--mode", "flush", "e1.1", path)
	p.waitFor(t, `(?m)^(on )`)
	return p
}

// TestH17FlushAfterReboot: a target that was killed on a machine which was not has
// lost nothing, and no flush says so. One whose machine was started anew may have.
func TestH17FlushAfterReboot(t *testing.T) {
	b := newBed(t, 9000)
	path := b.image(t, loadBytes)
	server := b.launch(t, path, "--mode", "flush")
	disk := b.openDisk(t)
	defer disk.Close()

	writeBlock(t, disk, 0, 1)
	server.kill(t)
	server = b.launch(t, path, "--mode", "flush")
	if err := disk.Flush(t.Context()); err != nil {
		t.Errorf("the target was killed, and not its machine: %v", err)
	}
	writeBlock(t, disk, 1, 1)
	server.kill(t)
	server = b.reboot(t, path)
	wantForgotten(t, disk)
	server.stop(t)
}

// TestH17FlushOfADeviceAfterReboot: whoever has the disk as a device is told, too.
func TestH17FlushOfADeviceAfterReboot(t *testing.T) {
	b := newBed(t, 9000)
	path := b.image(t, loadBytes)
	server := b.launch(t, path, "--mode", "flush")
	b.waitAnswers(t)
	holder, device := b.attach(t)
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(alignedBlock(), 0); err != nil {
		t.Fatal(err)
	}
	server.kill(t)
	server = b.reboot(t, path)
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("fsync after the target had forgotten what was written: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("the next fsync: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	holder.stop(t)
	server.stop(t)
}
