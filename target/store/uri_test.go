package store

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestParseNBD(t *testing.T) {
	long := strings.Repeat("x", nbdMaxName+1)
	for _, row := range []struct {
		uri  string
		want nbdAddress // empty: refused
	}{
		{"nbd://host", nbdAddress{"tcp", "host:10809", ""}},
		{"nbd://host/", nbdAddress{"tcp", "host:10809", ""}},
		{"nbd://host:99/e1.1", nbdAddress{"tcp", "host:99", "e1.1"}},
		{"nbd://[fe80::1]/a/b", nbdAddress{"tcp", "[fe80::1]:10809", "a/b"}},
		{"nbd://host//x", nbdAddress{"tcp", "host:10809", "/x"}},
		{"nbd://host/a%20b", nbdAddress{"tcp", "host:10809", "a b"}},
		{"nbd+unix:///?socket=/run/x", nbdAddress{"unix", "/run/x", ""}},
		{"nbd+unix:///disk?socket=/run/a%20b", nbdAddress{"unix", "/run/a b", "disk"}},
		{"nbd://", nbdAddress{}},
		{"nbd:///disk", nbdAddress{}},
		{"nbd:unix:/run/x", nbdAddress{}}, // qemu's own spelling
		{"nbd://user@host/", nbdAddress{}},
		{"nbd://host/x#y", nbdAddress{}},
		{"nbd://host/x?y=z", nbdAddress{}},
		{"nbd+unix:///disk", nbdAddress{}},
		{"nbd+unix://disk?socket=/run/x", nbdAddress{}},
		{"nbd+vsock://2/", nbdAddress{}},
		{"nbds://host/", nbdAddress{}},
		{"nbds+unix:///?socket=/run/x", nbdAddress{}},
		{"nbd://host/%zz", nbdAddress{}},
		{"nbd://host/" + long, nbdAddress{}},
	} {
		a, err := parseNBD(row.uri)
		if row.want == (nbdAddress{}) {
			if err == nil {
				t.Errorf("%.40s is %+v, want an error", row.uri, a)
			}
		} else if err != nil || a != row.want {
			t.Errorf("%s is %+v, %v, want %+v", row.uri, a, err, row.want)
		}
	}
}

// Two hosts that name an export alike serve the same disk, unless each names
// something of its own.
func TestNBDIdentity(t *testing.T) {
	for uri, want := range map[string]string{
		"nbd://Store.example/disk":      "nbd store.example:10809/disk",
		"nbd://10.0.0.1:99/":            "nbd 10.0.0.1:99/",
		"nbd://localhost/disk":          "",
		"nbd://127.0.0.2/disk":          "",
		"nbd://[::1]/disk":              "",
		"nbd+unix:///disk?socket=/no/x": "",
	} {
		a, err := parseNBD(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.identity(); got != want {
			t.Errorf("%s is %q, want %q", uri, got, want)
		}
	}
}

func TestMemoryByURI(t *testing.T) {
	for s, want := range map[string]int64{"mem:64M": 64 << 20, "mem:512": 512, "mem:1k": 1 << 10, "mem:2G": 2 << 30, "mem:1000": 512} {
		m, err := Open(Config{Path: s})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if n, _ := m.Size(); n != want {
			t.Errorf("%s has %d bytes, want %d", s, n, want)
		}
		m.Close()
	}
	for _, s := range []string{"mem:", "mem:0", "mem:511", "mem:-1G", "mem:1KK", "mem:M", "mem:9999999T", "mem:1.5G"} {
		if m, err := Open(Config{Path: s}); err == nil {
			m.Close()
			t.Errorf("%s was opened", s)
		}
	}
	for _, cfg := range []Config{{Path: "mem:1M", ReadOnly: true}, {Path: "mem:1M", Offset: 512}, {Path: "nbd://", Direct: true}} {
		if m, err := Open(cfg); err == nil {
			m.Close()
			t.Errorf("%+v was opened", cfg)
		}
	}
	if _, err := Open(Config{Path: "./mem:64M"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("./mem:64M: %v, want that there is no such file", err)
	}
}
