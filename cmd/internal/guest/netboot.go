package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"aoe/frame"
)

// ipxeImage is where Debian's package ipxe has the one that boots like a kernel.
const ipxeImage = "/boot/ipxe.lkrn"

// ipxeScript boots from e1.1: no DHCP, an address is not needed.
const ipxeScript = "#!ipxe\nifopen net0\nsanboot --drive 0x80 aoe:e1.1\n"

// MissingIPXE says what this machine lacks to run [Kernel.Netboot] beyond what
// [Missing] says, or nothing.
func MissingIPXE() error {
	if _, err := os.Stat(ipxeImage); err != nil {
		return fmt.Errorf("guest: %w: apt-get install --no-install-recommends ipxe", ErrMissing)
	}
	return nil
}

// minBootDisk is one cylinder of the 255 heads with 63 sectors that iPXE gives a
// disk without partitions: of a smaller disk it finds none, and refuses every read.
const minBootDisk = 255 * 63 * frame.SectorSize

// Netboot boots the machine by iPXE from e1.1, which begins with a boot sector
// that reads and writes the disk through int 13h. The status is 0 if it found what
// it wrote; the error also tells if the disk has something else. Script, Modules
// and Files mean nothing to it.
func (k *Kernel) Netboot(ctx context.Context, m Machine) (*Output, error) {
	if err := errors.Join(Missing(), MissingIPXE()); err != nil {
		return nil, err
	}
	if m.DiskBytes != 0 && m.DiskBytes < minBootDisk {
		return nil, fmt.Errorf("guest: iPXE does not boot from a disk of %d bytes: want %d", m.DiskBytes, minBootDisk)
	}
	m.Image = bootDisk()
	ended := m.Ended
	m.Ended = func(out *Output, paths []string) (err error) {
		if out.End == Exited && out.Status == 0 {
			err = lookAtBooted(paths[0])
		}
		if ended != nil {
			err = errors.Join(err, ended(out, paths))
		}
		return err
	}
	watch := m.Watch
	m.Watch = func(line string, c *Control) {
		if strings.Contains(line, "No bootable device") { // SeaBIOS would wait
			c.Stop()
		}
		if watch != nil {
			watch(line, c)
		}
	}
	return k.run(ctx, m, ipxeArgs)
}

func lookAtBooted(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("guest: %w", err)
	}
	defer f.Close()
	disk := make([]byte, (bootTo+bootSectors)*frame.SectorSize)
	if _, err := f.ReadAt(disk, 0); err != nil {
		return fmt.Errorf("guest: %w", err)
	}
	return checkBooted(disk)
}

// ipxeArgs is QEMU's command line for iPXE.
func ipxeArgs(m Machine, dir string) (args, missing []string, err error) {
	script := filepath.Join(dir, "boot.ipxe")
	if err := os.WriteFile(script, []byte(ipxeScript), 0o600); err != nil {
		return nil, nil, fmt.Errorf("guest: %w", err)
	}
	// SeaBIOS then prints on the serial port, and so does iPXE.
	return append(m.hardware(filepath.Join(dir, qmpSocket)), "-M", "graphics=off", "-kernel", ipxeImage, "-initrd", script,
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4"), nil, nil
}
