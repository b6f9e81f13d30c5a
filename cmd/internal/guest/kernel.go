package guest

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A Source says where a machine's software comes from. The zero value is good.
type Source struct {
	// Kernel is the series: "6.12" or "6.1". Empty means DefaultKernel.
	Kernel string
	// Cache is where kernels are unpacked. Empty means aoe/guest in the user's
	// cache directory ($XDG_CACHE_HOME or ~/.cache).
	Cache string
	// Binary is the aoe that is put into the guest, linked statically. Empty means
	// this very program if it is linked statically, else one built from the
	// module in the working directory.
	Binary string
	// Tell is told of what takes long. Nil tells nobody.
	Tell func(string)
}

// DefaultKernel is the series that has all of aoe, nbd and ublk_drv.
const DefaultKernel = "6.12"

// A Kernel is everything that machines are made of: a kernel, its modules,
// busybox and aoe.
type Kernel struct {
	Release string // "6.12.117+deb12-amd64"

	image   string            // path of vmlinuz
	modules map[string]string // name -> path
	busybox []byte
	aoe     []byte
}

// A tool is a program that is needed, and the package that has it.
type tool struct{ name, pkg string }

var tools = []tool{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"busybox", "busybox-static"},
	{"apt-get", "apt"},
	{"dpkg-deb", "dpkg"},
	{"xz", "xz-utils"},
}

// ErrMissing is wrapped by errors that say what this machine lacks.
var ErrMissing = errors.New("something is missing to run a guest")

// Missing says what this machine lacks to run a guest, with the remedy, or
// nothing.
func Missing() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("guest: %w: it runs on linux/amd64 only", ErrMissing)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("guest: %w: root, for network namespaces", ErrMissing)
	}
	var pkgs []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.name); err != nil {
			pkgs = append(pkgs, t.pkg)
		}
	}
	if len(pkgs) > 0 {
		return fmt.Errorf("guest: %w: apt-get install --no-install-recommends %s", ErrMissing, strings.Join(pkgs, " "))
	}
	return nil
}

// Prepare fetches and unpacks what is not in the cache yet.
func Prepare(ctx context.Context, src Source) (*Kernel, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	if src.Kernel == "" {
		src.Kernel = DefaultKernel
	}
	if src.Tell == nil {
		src.Tell = func(string) {}
	}
	if src.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("guest: no place to keep kernels: %w", err)
		}
		src.Cache = filepath.Join(dir, "aoe", "guest")
	}
	if err := os.MkdirAll(src.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	lock, err := lockDir(src.Cache)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	k, err := src.unpacked(ctx)
	if err != nil {
		return nil, err
	}
	if k.busybox, err = readStatic("busybox"); err != nil {
		return nil, fmt.Errorf("guest: %w: apt-get install busybox-static", err)
	}
	if k.aoe, err = src.binary(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// unpacked is the kernel in the cache, which is filled if need be.
func (s Source) unpacked(ctx context.Context) (*Kernel, error) {
	k, err := s.cached()
	if err != nil || k != nil {
		return k, err
	}
	pkg, err := s.packageName(ctx)
	if err != nil {
		return nil, err
	}
	s.Tell("fetching " + pkg)
	if err := s.fetch(ctx, pkg); err != nil {
		return nil, err
	}
	if k, err = s.cached(); k == nil && err == nil {
		err = fmt.Errorf("guest: %s has no kernel of series %s in it", pkg, s.Kernel)
	}
	return k, err
}

// cached is the newest unpacked kernel of the series, nil if there is none.
func (s Source) cached() (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(s.Cache, "linux-"+s.Kernel+".*", "boot", "vmlinuz-*"))
	if err != nil || len(images) == 0 {
		return nil, err
	}
	slices.Sort(images)
	image := images[len(images)-1]
	k := &Kernel{Release: strings.TrimPrefix(filepath.Base(image), "vmlinuz-"), image: image}
	k.modules, err = findModules(filepath.Join(filepath.Dir(filepath.Dir(image)), "lib", "modules", k.Release))
	return k, err
}

// packageName asks apt which package has the kernel: an empty one of a name
// that stays depends on it.
func (s Source) packageName(ctx context.Context) (string, error) {
	for _, meta := range []string{"linux-image-" + s.Kernel + "-amd64", "linux-image-amd64"} {
		out, err := exec.CommandContext(ctx, "apt-cache", "depends", meta).Output()
		if err != nil {
			continue // apt-cache fails if it knows no such package
		}
		if name := kernelDependency(string(out), s.Kernel); name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("guest: %w: a kernel %s in apt's lists: run apt-get update; Debian 12 has 6.12 in its backports",
		ErrMissing, s.Kernel)
}

// kernelDependency finds the kernel's package in what apt-cache depends says.
func kernelDependency(said, series string) string {
	for line := range strings.Lines(said) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && strings.HasPrefix(name, "linux-image-"+series+".") {
			return name
		}
	}
	return ""
}

// fetch downloads a kernel's package and unpacks it, without installing it.
func (s Source) fetch(ctx context.Context, pkg string) error {
	dir, err := os.MkdirTemp(s.Cache, "fetch-*")
	if err != nil {
		return fmt.Errorf("guest: %w", err)
	}
	defer os.RemoveAll(dir)
	get := exec.CommandContext(ctx, "apt-get", "download", "-q", pkg)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("guest: %w: %s: apt-get download: %v: %s: run apt-get update, or fetch it where there is a network",
			ErrMissing, pkg, err, bytes.TrimSpace(out))
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("guest: apt-get download %s left %d packages: %w", pkg, len(debs), err)
	}
	tree := filepath.Join(dir, "tree")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], tree).CombinedOutput(); err != nil {
		return fmt.Errorf("guest: unpack %s: %w: %s", filepath.Base(debs[0]), err, bytes.TrimSpace(out))
	}
	release := strings.TrimPrefix(pkg, "linux-image-")
	// Renamed when whole, so that what is in the cache is whole.
	if err := os.Rename(tree, filepath.Join(s.Cache, "linux-"+release)); err != nil {
		return fmt.Errorf("guest: %w", err)
	}
	return nil
}

// binary is the aoe for the guest.
func (s Source) binary(ctx context.Context) ([]byte, error) {
	if s.Binary != "" {
		data, err := readStatic(s.Binary)
		if err != nil {
			return nil, fmt.Errorf("guest: %w: build it with CGO_ENABLED=0", err)
		}
		return data, nil
	}
	self, err := os.Executable()
	var whole []byte
	if err == nil && isAOE(self) {
		if whole, err = readStatic(self); err == nil && hasNoReport(self) {
			return whole, nil
		}
	}
	// What lab report needs is a tenth of the guest's memory.
	s.Tell("building a small static aoe")
	out := filepath.Join(s.Cache, "aoe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-tags="+noReport, "-o", out, "aoe/cmd/aoe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	said, err := build.CombinedOutput()
	switch {
	case err == nil:
		return readStatic(out)
	case len(whole) > 0 && ctx.Err() == nil:
		s.Tell("that needs a checkout: the guest gets this aoe, reports and all")
		return whole, nil
	}
	return nil, fmt.Errorf("guest: this aoe is linked dynamically, and building one that is not failed: %w: %s: "+
		"run it in a checkout, or build aoe with CGO_ENABLED=0", err, bytes.TrimSpace(said))
}

// noReport is the build tag that leaves out what only aoe lab report needs.
const noReport = "noreport"

// hasNoReport reports whether a binary was built with the tag.
func hasNoReport(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			return slices.Contains(strings.Split(s.Value, ","), noReport)
		}
	}
	return false
}

// isAOE tells aoe itself, by whatever name, from a test of this package.
func isAOE(path string) bool {
	info, err := buildinfo.ReadFile(path)
	return err == nil && info.Path == "aoe/cmd/aoe"
}

// readStatic reads a program that needs no other file to run.
func readStatic(name string) ([]byte, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is linked dynamically", path)
		}
	}
	return data, nil
}
