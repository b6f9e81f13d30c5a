package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A blockLayer is where devices are found and how they are ended: the kernel's, but
// in tests, which have their own root.
type blockLayer struct {
	root       string
	control    func(op uint32, dev uint32, data uint64, buffer []byte) error // of ublk
	disconnect func(index int) error                                         // of the NBD client
}

func thisKernel() blockLayer {
	return blockLayer{"/", retryControl, func(index int) error {
		return doNBD(func(c *nbdControl) error { return c.disconnect(index) })
	}}
}

// refuseLeft refuses a disk for which a process that died left a device that is
// served in another way than via: with two devices for one disk, what waits in
// the one would be written over what the other wrote.
func refuseLeft(info Info, via string) error {
	if via != "nbd-kernel" {
		switch index, found, err := findNBD(nbdBackend(info)); {
		case err != nil:
			return err
		case found:
			return fmt.Errorf("attach: %s, of --via nbd-kernel: %w", nbdPath(index), ErrLeft)
		}
	}
	if via != "ublk" {
		switch left, found, err := thisKernel().findUblk(ublkMark(info)); {
		case err != nil:
			return err
		case found && left.state != ublkDead:
			return fmt.Errorf("attach: %s, of --via ublk: %w", ublkPath(left.id), ErrLeft)
		}
	}
	return nil
}

func leftDevices(name, serial string) ([]string, error) {
	return thisKernel().left(Info{Name: name, Serial: serial})
}

func endDevices(name, serial string) error { return thisKernel().end(Info{Name: name, Serial: serial}) }

// left are the paths of all that was made for a disk.
func (k blockLayer) left(info Info) (paths []string, err error) {
	index, found, err := k.findNBD(nbdBackend(info))
	if err != nil {
		return nil, err
	}
	if found {
		paths = append(paths, nbdPath(index))
	}
	u, found, err := k.findUblk(ublkMark(info))
	if found {
		paths = append(paths, ublkPath(u.id))
	}
	return paths, err
}

// end ends it. What is gone in the meantime is gone.
func (k blockLayer) end(info Info) error {
	index, found, err := k.findNBD(nbdBackend(info))
	if err == nil && found {
		if err = k.disconnect(index); errors.Is(err, unix.EINVAL) {
			err = nil // "not configured, cannot disconnect"
		}
		if err != nil {
			err = fmt.Errorf("attach: disconnecting %s: %w", nbdPath(index), err)
		}
	}
	u, found, uerr := k.findUblk(ublkMark(info))
	if uerr == nil && found {
		uerr = k.endUblk(u.id)
	}
	return errors.Join(err, uerr)
}

func (k blockLayer) endUblk(id uint32) error {
	// Everything that waits fails now.
	if err := k.control(ublkStopDev, id, 0, nil); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("attach: stopping %s: %w", ublkPath(id), err)
	}
	err := k.control(ublkDelDevAsync, id, 0, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // before Linux 6.7
		go k.control(ublkDelDev, id, 0, nil) // ends with the last user, or this process
		return nil
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("attach: deleting ublk device %d: %w", id, err)
	}
	return nil
}

// findNBD looks for the device that is connected for that backend.
func (k blockLayer) findNBD(backend string) (int, bool, error) {
	files, err := filepath.Glob(filepath.Join(k.root, "sys/block/nbd*/backend"))
	if err != nil {
		return 0, false, fmt.Errorf("attach: %w", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || strings.TrimSuffix(string(text), "\n") != backend {
			continue // it has just gone, or is another's
		}
		index, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(f)), "nbd"))
		if err == nil {
			return index, true, nil
		}
	}
	return 0, false, nil
}

// findUblk looks for the device with that mark.
func (k blockLayer) findUblk(mark uint64) (ublkInfo, bool, error) {
	paths, err := filepath.Glob(filepath.Join(k.root, "sys/class/ublk-char/ublkc*"))
	if err != nil {
		return ublkInfo{}, false, fmt.Errorf("attach: %w", err)
	}
	for _, p := range paths {
		id, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(p), "ublkc"), 10, 32)
		if err != nil {
			continue
		}
		info, err := k.ublkInfo(uint32(id))
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) {
			continue // it has just gone, or is another user's
		}
		if err != nil {
			return info, false, err
		}
		if info.mark == mark {
			return info, true, nil
		}
	}
	return ublkInfo{}, false, nil
}

func (k blockLayer) ublkInfo(id uint32) (ublkInfo, error) {
	var b [ublkInfoLen]byte
	if err := k.control(ublkGetDevInfo, id, 0, b[:]); err != nil {
		return ublkInfo{}, fmt.Errorf("attach: asking for ublk device %d: %w", id, err)
	}
	return parseUblkInfo(b[:]), nil
}
