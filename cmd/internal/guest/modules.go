package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A module is a kernel module as the kernel wants it: not compressed.
type module struct {
	name    string
	depends []string
	data    []byte
}

// moduleName is the name that the kernel and modinfo give to a module's file:
// virtio-net.ko.xz is virtio_net.
func moduleName(path string) string {
	base := filepath.Base(path)
	i := strings.Index(base, ".ko")
	if i < 0 {
		return ""
	}
	return strings.ReplaceAll(base[:i], "-", "_")
}

// findModules lists the files of all modules beneath dir by their names.
func findModules(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if name := moduleName(path); name != "" {
				found[name] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("guest: look for modules: %w", err)
	}
	return found, nil
}

// loadOrder returns the modules wanted and all that they depend on, each behind
// what it needs. Load reads one; it returns nil without an error if there is no
// such module, which is right for what the kernel has built in and for modules
// that only some kernels have. Missing names those of wanted that are not there.
func loadOrder(wanted []string, load func(name string) (*module, error)) (order []*module, missing []string, err error) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var visit func(name string) (bool, error)
	visit = func(name string) (bool, error) {
		switch state[name] {
		case visiting:
			return false, fmt.Errorf("guest: module %s depends on itself", name)
		case done:
			return true, nil
		}
		m, err := load(name)
		if err != nil || m == nil {
			return false, err
		}
		state[name] = visiting
		for _, d := range m.depends {
			if _, err := visit(d); err != nil {
				return false, err
			}
		}
		state[name] = done
		order = append(order, m)
		return true, nil
	}
	for _, name := range wanted {
		found, err := visit(strings.ReplaceAll(name, "-", "_"))
		if err != nil {
			return nil, nil, err
		}
		if !found {
			missing = append(missing, name)
		}
	}
	return order, missing, nil
}

// readModule reads and unpacks the module at path.
func readModule(path string) (*module, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	for suffix, tool := range map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"} {
		if !strings.HasSuffix(path, suffix) {
			continue
		}
		cmd := exec.Command(tool, "-dc")
		cmd.Stdin = bytes.NewReader(data)
		if data, err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("guest: unpack %s with %s: %w", filepath.Base(path), tool, err)
		}
	}
	depends, err := dependsOf(data)
	if err != nil {
		return nil, fmt.Errorf("guest: %s: %w", filepath.Base(path), err)
	}
	return &module{moduleName(path), depends, data}, nil
}

// dependsOf reads what a module depends on out of the module itself. The list
// that depmod makes of all of them is not in Debian's packages.
func dependsOf(object []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no .modinfo: not a kernel module")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(info), nil
}

// parseDepends finds depends= in the strings of a .modinfo section, which end
// with zeros.
func parseDepends(info []byte) []string {
	for field := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := strings.CutPrefix(string(field), "depends=")
		if !ok {
			continue
		}
		names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
		for i := range names {
			names[i] = strings.ReplaceAll(names[i], "-", "_")
		}
		return slices.Clip(names)
	}
	return nil
}
