package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ext4 makes a file system for so many images on a loop device over a new file in
// dir, and mounts it. Before each run what others have left to be written is
// written.
//
// Nothing outlives this process, however it ends: the file has no name, the mount
// is in our namespace, and the loop device goes with the mount.
func (b *bed) ext4(dir string, images int) (at string, err error) {
	device, err := loopDevice(dir, int64(images+1)*b.cfg.imageBytes+64<<20)
	if err != nil {
		return "", err
	}
	at = filepath.Join(b.dir, "ext4")
	if _, err = tool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device); err == nil {
		err = os.Mkdir(at, 0o700)
	}
	if err == nil {
		err = unix.Mount(device, at, "ext4", 0, "")
	}
	// "The detach operation does not return EBUSY error anymore if device is
	// actively used by system, but it is marked by autoclear flag" (losetup(8)).
	_, derr := tool("losetup", "--detach", device)
	if err != nil || derr != nil {
		return "", errors.Join(err, derr)
	}
	b.push(func() error { return unix.Unmount(at, 0) })
	root, err := os.Open(at)
	if err != nil {
		return "", err
	}
	b.push(root.Close)
	b.settle = func() error { return unix.Syncfs(int(root.Fd())) }
	return at, nil
}

// loopDevice is one of n bytes over a file in dir that is gone when the device is.
func loopDevice(dir string, n int64) (device string, err error) {
	f, err := os.CreateTemp(dir, "aoe-speed-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name()), f.Close()) }()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
		return "", fmt.Errorf("%d bytes in %s: %w", n, dir, err)
	}
	// Past the page cache of the file system beneath: there is one above.
	return tool("losetup", "--find", "--show", "--direct-io=on", f.Name())
}
