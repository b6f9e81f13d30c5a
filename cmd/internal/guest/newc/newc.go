// Package newc writes cpio archives in the "new ASCII" format, which is what
// the Linux kernel unpacks as its first root file system: see
// Documentation/driver-api/early-userspace/buffer-format.rst.
//
//	w := newc.NewWriter(out)
//	err := w.File("bin/busybox", 0o755, data)
//	err = w.Close()
//
// A directory must be written before what is in it. All files are root's and
// have no time. A Writer is used by one goroutine.
package newc

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// File types of the mode field, as in stat(2).
const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

// maxFileBytes is what the size field of eight hexadecimal digits holds.
const maxFileBytes = 1<<32 - 1

// A Writer writes one archive.
type Writer struct {
	w      io.Writer
	inode  uint32
	closed bool
	err    error // the first that w returned: the archive is broken from there on
}

// NewWriter begins an archive.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Dir writes a directory.
func (w *Writer) Dir(name string, perm uint32) error {
	return w.entry(name, typeDir|perm, 2, 0, 0, nil)
}

// File writes a regular file.
func (w *Writer) File(name string, perm uint32, data []byte) error {
	return w.entry(name, typeRegular|perm, 1, 0, 0, data)
}

// Symlink writes a symbolic link to target.
func (w *Writer) Symlink(name, target string) error {
	return w.entry(name, typeSymlink|0o777, 1, 0, 0, []byte(target))
}

// CharDevice writes a character device.
func (w *Writer) CharDevice(name string, perm, major, minor uint32) error {
	return w.entry(name, typeChar|perm, 1, major, minor, nil)
}

// Close ends the archive. It does not close the writer underneath.
func (w *Writer) Close() error {
	if w.closed {
		return errors.New("newc: closed already")
	}
	w.inode = 0
	err := w.write(trailer, 0, 1, 0, 0, nil)
	w.closed = true
	return err
}

func (w *Writer) entry(name string, mode, links, major, minor uint32, data []byte) error {
	switch {
	case w.closed:
		return errors.New("newc: write to a closed archive")
	case name == "" || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) || name == trailer:
		return fmt.Errorf("newc: %q is no name for a file of an archive: want a path without a leading slash", name)
	case int64(len(data)) > maxFileBytes:
		return fmt.Errorf("newc: %s has %d bytes, more than an archive's file can have", name, len(data))
	}
	w.inode++
	return w.write(name, mode, links, major, minor, data)
}

// write writes header, name and data, the latter two padded so that what
// follows begins at a multiple of four bytes.
func (w *Writer) write(name string, mode, links, major, minor uint32, data []byte) error {
	const headerLen = 110
	head := make([]byte, 0, headerLen+len(name)+4)
	head = append(head, "070701"...)
	for _, field := range []uint32{
		w.inode, mode, 0, 0, links, 0, uint32(len(data)),
		0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		head = fmt.Appendf(head, "%08X", field)
	}
	head = append(append(head, name...), 0)
	head = append(head, padding(len(head))...)
	for _, part := range [][]byte{head, data, padding(len(data))} {
		if w.err == nil && len(part) > 0 {
			_, w.err = w.w.Write(part)
		}
	}
	return w.err
}

// padding is what is missing behind n bytes to a multiple of four.
func padding(n int) []byte { return make([]byte, -n&3) }
