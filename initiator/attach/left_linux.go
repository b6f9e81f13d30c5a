package attach

import "fmt"

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
		switch left, found, err := findUblk(ublkMark(info)); {
		case err != nil:
			return err
		case found && left.state != ublkDead:
			return fmt.Errorf("attach: %s, of --via ublk: %w", ublkPath(left.id), ErrLeft)
		}
	}
	return nil
}
