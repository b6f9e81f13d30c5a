package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Manifest is what a tree of files must contain.
type Manifest struct {
	Files []File
	Bytes int64
}

// A File is one entry of a Manifest: a regular file, or a symbolic link, whose
// content is its target.
type File struct {
	Path string // from the top of the tree
	Link bool
	Size int64
	Sum  [sha256.Size]byte
}

// FindTree chooses the files to copy: dir if it is given, else the sources of
// the Go toolchain, else what Linux machines have.
func FindTree(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	for _, root := range goroots() {
		if src := filepath.Join(root, "src"); isDir(filepath.Join(src, "runtime")) {
			return src, nil
		}
	}
	for _, dir := range []string{"/usr/share/doc", "/usr/share", "/etc"} {
		if isDir(dir) {
			return dir, nil
		}
	}
	return "", errors.New("lab: no file tree to copy: name one with --tree DIR")
}

// goroots are the places where the Go toolchain may be. runtime.GOROOT is
// deprecated because a binary may run on another machine than it was built on,
// so the go command is asked.
func goroots() []string {
	roots := []string{os.Getenv("GOROOT")}
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		roots = append(roots, strings.TrimSpace(string(out)))
	}
	roots = append(roots, "/usr/local/go", "/usr/lib/go", "/usr/share/go")
	if runtime.GOOS == "windows" {
		roots = append(roots, `C:\Program Files\Go`)
	}
	return roots
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// Survey lists the regular files and links under dir, up to limit bytes in all:
// so much that the image has room for it. What cannot be read is left out.
func Survey(ctx context.Context, dir string, limit int64) (Manifest, error) {
	var m Manifest
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // unreadable, or gone: not ours to judge
		}
		link := e.Type()&fs.ModeSymlink != 0
		if !e.Type().IsRegular() && !link {
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			return nil
		}
		// Each file costs at least a block and its share of an inode.
		if m.Bytes+fi.Size()+int64(len(m.Files))*8192 > limit {
			return fs.SkipAll
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, File{Path: rel, Link: link, Size: fi.Size()})
		m.Bytes += fi.Size()
		return nil
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("lab: %w", err)
	}
	if len(m.Files) == 0 {
		return Manifest{}, fmt.Errorf("lab: %s holds no files: name another tree with --tree DIR", dir)
	}
	return m, nil
}

// Copy copies the manifest's files from src to dst, and records the digest of
// what it read. Files that cannot be read are dropped from the manifest.
func (m *Manifest) Copy(ctx context.Context, src, dst string, progress func(bytes int64)) error {
	made := map[string]bool{}
	kept := m.Files[:0]
	m.Bytes = 0
	for _, f := range m.Files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		dir := filepath.Join(dst, filepath.Dir(f.Path))
		if !made[dir] {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("lab: %w", err)
			}
			made[dir] = true
		}
		ok, err := f.copy(filepath.Join(src, f.Path), filepath.Join(dst, f.Path))
		if err != nil {
			return fmt.Errorf("lab: copying %s: %w", f.Path, err)
		}
		if ok {
			kept = append(kept, f)
			m.Bytes += f.Size
			progress(f.Size)
		}
	}
	m.Files = kept
	if len(kept) == 0 {
		return fmt.Errorf("lab: no file of %s could be read", src)
	}
	return nil
}

// copy reports false when the source cannot be read, and an error when the
// copy cannot be written. It sets the size and digest to what was copied.
func (f *File) copy(src, dst string) (bool, error) {
	if f.Link {
		target, err := os.Readlink(src)
		if err != nil {
			return false, nil
		}
		f.Size, f.Sum = int64(len(target)), sha256.Sum256([]byte(target))
		return true, os.Symlink(target, dst)
	}
	in, err := os.Open(src)
	if err != nil {
		return false, nil
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return false, err
	}
	h := sha256.New()
	f.Size, err = io.Copy(out, io.TeeReader(in, h))
	h.Sum(f.Sum[:0])
	return true, errors.Join(err, out.Close())
}

// verifyReaders read at once: enough to keep a network disk busy with files of
// one block.
const verifyReaders = 8

// Verify reads every file of the manifest under dir and compares digests. The
// error names the first files that differ and says how many do. progress is
// called by several goroutines.
func (m *Manifest) Verify(ctx context.Context, dir string, progress func(bytes int64)) error {
	errs := make([]error, len(m.Files))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range verifyReaders {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(m.Files) {
					return
				}
				f := &m.Files[i]
				errs[i] = f.verify(filepath.Join(dir, f.Path))
				progress(f.Size)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	wrong := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("lab: %d of %d files are wrong: %w", len(wrong), len(m.Files), errors.Join(wrong[:min(len(wrong), 5)]...))
}

func (f *File) verify(path string) error {
	var sum [sha256.Size]byte
	var n int64
	if f.Link {
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		sum, n = sha256.Sum256([]byte(target)), int64(len(target))
	} else {
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		h := sha256.New()
		if n, err = io.Copy(h, in); err != nil {
			return err
		}
		h.Sum(sum[:0])
	}
	switch {
	case n != f.Size:
		return fmt.Errorf("%s has %d bytes, want %d", f.Path, n, f.Size)
	case sum != f.Sum:
		return fmt.Errorf("%s has digest %x, want %x", f.Path, sum, f.Sum)
	}
	return nil
}
