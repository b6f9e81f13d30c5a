package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
)

func image(t *testing.T, sizeBytes int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, sizeBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestServeSaysWhatIsWrong before it touches the network.
func TestServeSaysWhatIsWrong(t *testing.T) {
	img := image(t, 1<<20)
	for _, row := range []struct {
		name   string
		args   []string
		status exit.Status
		want   string
	}{
		{"nothing", []string{"serve"}, exit.Usage, "nothing to serve: want pairs of an address and a path"},
		{"no path", []string{"serve", "-i", "eth1", "e1.1"}, exit.Usage, "want pairs"},
		{"no address", []string{"serve", "-i", "eth1", "disk.img", "e1.1"}, exit.Usage, "not an AoE address"},
		{"a wildcard", []string{"serve", "-i", "eth1", "e*.1", img}, exit.Usage, "may be many disks"},
		{"no interface", []string{"serve", "e1.1", img}, exit.Usage, "say -i eth1"},
		{"no such mode", []string{"serve", "-i", "eth1", "--mode", "fast", "e1.1", img}, exit.Usage, "want one of sync, flush"},
		{"a size that is none", []string{"serve", "-i", "eth1", "--offset", "1X", "e1.1", img}, exit.Usage, "not a size"},
		{"one serial for two", []string{"serve", "-i", "eth1", "--serial", "S", "e1.1", img, "e1.2", img}, exit.Usage, "would take them for one"},
		{"edits by some", []string{"serve", "-i", "eth1", "--wire-edits", "some", "e1.1", img}, exit.Usage, "none, listed or any"},
		{"no such file", []string{"serve", "-i", "eth1", "e1.1", img + "x"}, exit.Failed, "no such file"},
		{"an offset inside a sector", []string{"serve", "-i", "eth1", "--offset", "100", "e1.1", img}, exit.Failed, "multiples of 512"},
		{"one address twice", []string{"serve", "-i", "eth1", "e1.1", img, "e1.1", image(t, 1<<20)}, exit.Failed, "served already"},
		{"one file twice", []string{"serve", "-i", "eth1", "e1.1", img, "e1.2", img}, exit.Failed, "in use"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, stderr, status := aoe(t, row.args...)
			if status != row.status || !strings.Contains(stderr, row.want) {
				t.Errorf("status %d, message %q; want %d and %q", status, stderr, row.status, row.want)
			}
		})
	}
}

func TestServePrintsWhatItServes(t *testing.T) {
	var b bytes.Buffer
	err := printServed(&b, target.Stats{
		Disks: []target.DiskStats{
			{Addr: frame.Addr{Shelf: 1, Slot: 1}, Name: "disk.img", Serial: "abc", Sectors: 2097152, BufferCount: 64},
			{Addr: frame.Addr{Shelf: 1, Slot: 2}, Name: "/dev/sdb", Serial: "def", Sectors: 2000, BufferCount: 64, ReadOnly: true, Volatile: true},
			{Addr: frame.Addr{Shelf: 1, Slot: 3}, Name: "mem:1M", Serial: "ghi", Sectors: 2048, BufferCount: 64, Volatile: true},
		},
		Links: []target.PortStats{
			{Name: "eth1", MAC: frame.MAC{2, 0, 0, 0, 0, 1}, MTU: 9000, Up: true, Sectors: 17, Link: link.Stats{}},
			{Name: "eth2", MAC: frame.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500, Sectors: 2},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "e1.1  1.073GB  disk.img  sync, serial abc, 64 buffers\n" +
		"e1.2  0.001GB  /dev/sdb  read-only, serial def, 64 buffers\n" +
		"e1.3  0.001GB  mem:1M    sync without stable storage, serial ghi, 64 buffers\n" +
		"on eth1  02:00:00:00:00:01  MTU 9000, 17 sectors in a frame\n" +
		"on eth2  02:00:00:00:00:02  MTU 1500, 2 sectors in a frame, down\n"
	if b.String() != want {
		t.Errorf("printed\n%swant\n%s", b.String(), want)
	}
}

// TestH7RingHoldsWhatIsAdvertised: a receive ring has room for all that the disks
// behind it advertise, twice, within bounds.
func TestH7RingHoldsWhatIsAdvertised(t *testing.T) {
	for _, row := range []struct{ disks, buffers, want int }{
		{0, 0, 256}, {1, 64, 256}, {4, 64, 512}, {1, 1000, 2000}, {100, 64, 4096},
	} {
		st := target.Stats{Disks: make([]target.DiskStats, row.disks)}
		for i := range st.Disks {
			st.Disks[i].BufferCount = row.buffers
		}
		if got := receiveSlots(st); got != row.want {
			t.Errorf("%d disks of %d buffers: %d slots, want %d", row.disks, row.buffers, got, row.want)
		}
	}
}
