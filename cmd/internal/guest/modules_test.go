package guest

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

// loader serves modules out of a table of what they depend on.
func loader(depends map[string][]string) func(string) (*module, error) {
	return func(name string) (*module, error) {
		d, ok := depends[name]
		if !ok {
			return nil, nil
		}
		return &module{name: name, depends: d}, nil
	}
}

func names(modules []*module) (all []string) {
	for _, m := range modules {
		all = append(all, m.name)
	}
	return all
}

func TestLoadOrder(t *testing.T) {
	depends := map[string][]string{
		"virtio_net": {"net_failover", "virtio", "virtio_ring"}, "net_failover": {"failover"}, "failover": nil,
		"virtio_ring": {"virtio"}, "virtio": nil, "aoe": nil, "nbd": {"built_in"},
	}
	order, missing, err := loadOrder([]string{"virtio-net", "aoe", "virtio_net", "ublk_drv", "nbd"}, loader(depends))
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, name := range names(order) {
		if _, twice := at[name]; twice {
			t.Errorf("%s is loaded twice", name)
		}
		at[name] = i
	}
	for name, needs := range depends {
		for _, d := range needs {
			if _, ok := depends[d]; ok && at[d] > at[name] {
				t.Errorf("%s is loaded behind %s, which needs it", d, name)
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(at)), slices.Sorted(maps.Keys(depends)); !slices.Equal(got, want) {
		t.Errorf("loaded %v, want %v", got, want)
	}
	if !slices.Equal(missing, []string{"ublk_drv"}) {
		t.Errorf("missing are %v, want ublk_drv alone: what a module needs and is not there is built in", missing)
	}
}

func TestLoadOrderOfALoop(t *testing.T) {
	if _, _, err := loadOrder([]string{"a"}, loader(map[string][]string{"a": {"b"}, "b": {"a"}})); err == nil {
		t.Error("two modules that need each other have an order")
	}
}

func TestLoadOrderTellsErrors(t *testing.T) {
	broken := errors.New("broken")
	_, _, err := loadOrder([]string{"a"}, func(name string) (*module, error) {
		if name == "b" {
			return nil, broken
		}
		return &module{name: name, depends: []string{"b"}}, nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v, want %v", err, broken)
	}
}

func TestModuleName(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/drivers/net/virtio-net.ko.xz": "virtio_net", "aoe.ko": "aoe", "nbd.ko.zst": "nbd", "modules.order": "",
	} {
		if got := moduleName(path); got != want {
			t.Errorf("moduleName(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestParseDepends(t *testing.T) {
	for _, row := range []struct {
		info string
		want []string
	}{
		{"license=GPL\x00depends=net-failover,virtio\x00name=virtio_net\x00", []string{"net_failover", "virtio"}},
		{"depends=\x00", nil},
		{"softdepends=x\x00", nil},
		{"", nil},
	} {
		if got := parseDepends([]byte(row.info)); !slices.Equal(got, row.want) {
			t.Errorf("parseDepends(%q) = %v, want %v", row.info, got, row.want)
		}
	}
	if _, err := dependsOf([]byte("not an object")); err == nil {
		t.Error("what is no ELF file has dependencies")
	}
}

func TestKernelDependency(t *testing.T) {
	said := "linux-image-6.1-amd64\n  Conflicts: linux-image-6.1.9\n  Depends: linux-image-6.1.0-56-amd64\n |Depends: other\n"
	if got := kernelDependency(said, "6.1"); got != "linux-image-6.1.0-56-amd64" {
		t.Errorf("found %q", got)
	}
	if got := kernelDependency(said, "6.12"); got != "" {
		t.Errorf("found %q for another series", got)
	}
}
