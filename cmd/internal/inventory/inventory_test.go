package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/conf"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/target"
	"aoe/target/store"
)

// A bed is an inventory of a server that serves, in a directory with files.
type bed struct {
	*Inventory
	t      *testing.T
	dir    string
	server *target.Server
	opened []string // interfaces
}

func newBed(t *testing.T) *bed {
	t.Helper()
	s, err := target.New(target.Config{Watch: -1, BufferCount: 4, Workers: 1, Batch: 1, RecentWrites: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: t.TempDir(), server: s}
	sw := linktest.NewSwitch(linktest.Config{})
	b.Inventory = New(s, func(name string) (link.Link, error) {
		if name == "nothere" {
			return nil, fmt.Errorf("no interface %s: %w", name, os.ErrNotExist)
		}
		b.opened = append(b.opened, name)
		return sw.Port(frame.MAC{2, 0, 0, 0, 0, byte(len(b.opened))}), nil
	})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	for _, name := range []string{"a", "b", "c", "d"} {
		b.image(name, 1<<20)
	}
	return b
}

func (b *bed) image(name string, size int) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bed) apply(text string) error {
	b.t.Helper()
	f, err := conf.Parse(text, filepath.Join(b.dir, "target.conf"))
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = b.Apply(b.t.Context(), f)
	return err
}

func (b *bed) must(text string) {
	b.t.Helper()
	if err := b.apply(text); err != nil {
		b.t.Fatal(err)
	}
}

// served says what the server serves: address, file, sectors and edits of each
// disk, and how many links.
func (b *bed) served() string {
	var all []string
	st := b.server.Stats()
	for _, d := range st.Disks {
		s := fmt.Sprintf("%s %s %d", d.Addr, filepath.Base(d.Name), d.Sectors)
		if d.ReadOnly {
			s += " r"
		}
		if len(d.Settings.ConfigString) > 0 {
			s += " " + string(d.Settings.ConfigString)
		}
		all = append(all, s)
	}
	return fmt.Sprintf("%s on %d", strings.Join(all, ", "), len(st.Links))
}

func (b *bed) want(served string) {
	b.t.Helper()
	if got := b.served(); got != served {
		b.t.Errorf("served: %s\nwant:   %s", got, served)
	}
}

// TestApply: one file after the other, and what is served then.
func TestApply(t *testing.T) {
	b := newBed(t)
	for _, row := range []struct{ text, want string }{
		{"interface x\ndisk e1.1 a\n", "e1.1 a 2048 on 1"},
		{"interface x y\ndisk e1.1 a\ndisk e1.2 b\n", "e1.1 a 2048, e1.2 b 2048 on 2"},
		{"interface y\ndisk e1.2 b length=512K\n", "e1.2 b 1024 on 1"},
		{"interface y\ndisk e1.2 b length=512K config-string=one\n", "e1.2 b 1024 one on 1"},
		{"interface y\ndisk e1.2 b read-only offset=1024\n", "e1.2 b 2046 r on 1"},
		{"interface y\ndisk e1.3 b\n", "e1.3 b 2048 on 1"},                                          // its store moves
		{"interface y\ndisk e1.3 b\ndisk e1.4 a\n", "e1.3 b 2048, e1.4 a 2048 on 1"},                //
		{"interface y\ndisk e1.3 a\ndisk e1.4 b\n", "e1.3 a 2048, e1.4 b 2048 on 1"},                // they exchange their stores
		{"interface y\ndisk e1.3 a\ndisk e1.4 b\ninterface x\n", "e1.3 a 2048, e1.4 b 2048 on 2"},   //
		{"interface y\ndisk e1.3 a\ndisk e1.4 b\ninterface x\n\n", "e1.3 a 2048, e1.4 b 2048 on 2"}, // nothing
		{"interface y\n", " on 1"},
	} {
		if err := b.apply(row.text); err != nil {
			t.Fatalf("%s: %v", row.text, err)
		}
		b.want(row.want)
	}
	if !slices.Equal(b.opened, []string{"x", "y", "x"}) {
		t.Errorf("opened %v", b.opened)
	}
}

// TestUnchangedDisksAreNotDisturbed: their counters go on, though everything
// around them comes and goes, and so does what was set of them meanwhile.
func TestUnchangedDisksAreNotDisturbed(t *testing.T) {
	b := newBed(t)
	e11 := frame.Addr{Shelf: 1, Slot: 1}
	b.must("interface x\ndisk e1.1 a length=1K config-string=one\ndisk e1.2 b\n")
	if _, err := b.server.SetConfigString(e11, []byte("edited"), true); err != nil {
		t.Fatal(err)
	}
	if err := b.Resize(e11, 4096); err != nil {
		t.Fatal(err)
	}
	edits := b.server.Stats().Disks[0].Edits
	b.must("interface x y\ndisk e1.1 a length=1K config-string=one\ndisk e1.3 c\n")
	b.want("e1.1 a 8 edited, e1.3 c 2048 on 2")
	if got := b.server.Stats().Disks[0].Edits; got != edits || edits == 0 {
		t.Errorf("%d edits counted, %d before: the disk was served anew", got, edits)
	}
	b.must("interface x y\ndisk e1.1 a length=2K config-string=two\ndisk e1.3 c\n") // the later word
	b.want("e1.1 a 4 two, e1.3 c 2048 on 2")
	if got := b.server.Stats().Disks[0].Edits; got <= edits {
		t.Errorf("%d edits counted, %d before: the disk was served anew", got, edits)
	}
}

// TestABadFileChangesNothing, whatever else is in it.
func TestABadFileChangesNothing(t *testing.T) {
	b := newBed(t)
	b.must("interface x\ndisk e1.1 a length=1K config-string=one\ndisk e1.2 b\n")
	if err := b.AddDisk(conf.Disk{Addr: frame.Addr{Shelf: 9, Slot: 9}, Path: filepath.Join(b.dir, "d")}, CommandLine); err != nil {
		t.Fatal(err)
	}
	const before = "e1.1 a 2 one, e1.2 b 2048, e9.9 d 2048 on 1"
	b.want(before)
	for _, row := range []struct{ text, want string }{
		{"interface x y\ndisk e1.1 a length=2K config-string=two\ndisk e1.3 c\ndisk e1.4 nothere\n", "nothere"},
		{"interface x nothere\ndisk e1.1 a length=2K\n", "no interface nothere"},
		{"interface x y\ndisk e1.3 c\ndisk e1.2 b length=2M\n", "make the store larger"},
		{"interface x\ndisk e1.3 c length=2M\n", "make the store larger"},
		{"interface x\ndisk e1.3 c\ndisk e1.4 c\n", "in use"},
		{"interface x\ndisk e9.9 d\n", "on the command line"},
		{"disk e1.1 a\n", "no interface would be left"},
	} {
		if err := b.apply(row.text); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.text, err, row.want)
		}
		b.want(before)
	}
	b.must("interface x\ndisk e1.1 a length=1K config-string=one\ndisk e1.2 b\n")
	b.want(before)
}

// TestWhatCannotBeServedAnewIsServedAsBefore.
func TestWhatCannotBeServedAnewIsServedAsBefore(t *testing.T) {
	b := newBed(t)
	b.must("interface x\ndisk e1.1 a\n")
	err := b.apply("interface x\ndisk e1.1 a offset=4M\n")
	if err == nil || !strings.Contains(err.Error(), "served as before") {
		t.Errorf("%v", err)
	}
	b.want("e1.1 a 2048 on 1")
	b.must("interface x\ndisk e1.1 a offset=4K\n")
	b.want("e1.1 a 2040 on 1")
}

// TestOrigins: the file takes nothing away that it did not bring, and may take over
// what the control socket has.
func TestOrigins(t *testing.T) {
	b := newBed(t)
	add := func(slot uint8, name string, from Origin) conf.Disk {
		t.Helper()
		d := conf.Disk{Addr: frame.Addr{Shelf: 1, Slot: slot}, Path: filepath.Join(b.dir, name)}
		if err := b.AddDisk(d, from); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if err := b.AddInterface("z", CommandLine); err != nil {
		t.Fatal(err)
	}
	add(1, "a", CommandLine)
	d := add(2, "b", Control)
	add(3, "c", Control)
	if err := b.AddDisk(d, Control); !errors.Is(err, os.ErrExist) {
		t.Errorf("an address twice: %v", err)
	}
	b.must("disk e1.2 b read-only\n") // the interface is on the command line
	b.want("e1.1 a 2048, e1.2 b 2048 r, e1.3 c 2048 on 1")
	b.must("interface z\n")
	b.want("e1.1 a 2048, e1.3 c 2048 on 1")
	b.must("disk e1.4 d\n")
	b.want("e1.1 a 2048, e1.3 c 2048, e1.4 d 2048 on 1")
	var origins []Origin
	for _, e := range b.Entries() {
		origins = append(origins, e.Origin)
	}
	if !slices.Equal(origins, []Origin{CommandLine, Control, File}) {
		t.Errorf("origins %v", origins)
	}
	// Removed by hand, the file brings it back.
	e14 := frame.Addr{Shelf: 1, Slot: 4}
	if err := b.RemoveDisk(t.Context(), e14); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveDisk(t.Context(), e14); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
	b.must("disk e1.4 d\n")
	b.want("e1.1 a 2048, e1.3 c 2048, e1.4 d 2048 on 1")
	if n := len(b.opened); n != 1 {
		t.Errorf("%d interfaces opened", n)
	}
}

// stuck is a store whose syncs wait.
type stuck struct {
	store.Store
	release chan struct{}
}

func (s stuck) Sync() error {
	<-s.release
	return s.Store.Sync()
}

// TestRemovingABusyDiskDoesNotHang: it is not served any more, and said to be busy.
func TestRemovingABusyDiskDoesNotHang(t *testing.T) {
	b := newBed(t)
	e11 := frame.Addr{Shelf: 1, Slot: 1}
	st := stuck{store.Memory(1 << 20), make(chan struct{})}
	if err := b.server.AddDisk(target.Disk{Addr: e11, Store: st}); err != nil {
		t.Fatal(err)
	}
	b.setEntry(Entry{conf.Disk{Addr: e11}, Control})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.RemoveDisk(ctx, e11); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still busy") {
		t.Errorf("%v", err)
	}
	b.want(" on 0")
	b.must("interface x\ndisk e1.1 a\n") // its address is free
	b.want("e1.1 a 2048 on 1")
	close(st.release)
}
