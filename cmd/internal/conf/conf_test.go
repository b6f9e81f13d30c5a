package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"aoe/frame"
	"aoe/target"
)

func TestFile(t *testing.T) {
	text := `# a target
interface eth1 eth2
interface eth3	# another

disk e1.1 one.img
default buffers=128 wire-edits=none read-only mask=02-00-00-00-00-0a
disk	e1.2  /dev/sdb   # read-only by default
disk e1.3 "with a space.img" read-only=no mode=flush offset=1M length=512M mask= serial="A B" config-string="rack \"7\" #1"
default mode=direct
disk e1.4 nbd://host/x wire-edits=any buffers=1 mask=020000000001,02:00:00:00:00:02
disk e1.5 a\ b\#c` + "\r\n"
	mac := frame.MAC{2, 0, 0, 0, 0, 0x0a}
	got, err := Parse(text, "/etc/aoe/target.conf")
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		Interfaces: []string{"eth1", "eth2", "eth3"},
		Disks: []Disk{
			{Addr: frame.Addr{Shelf: 1, Slot: 1}, Path: "/etc/aoe/one.img", line: 5},
			{Addr: frame.Addr{Shelf: 1, Slot: 2}, Path: "/dev/sdb", Buffers: 128, WireEdits: target.EditsNone, ReadOnly: true, Mask: []frame.MAC{mac}, line: 7},
			{Addr: frame.Addr{Shelf: 1, Slot: 3}, Path: "/etc/aoe/with a space.img", Buffers: 128, WireEdits: target.EditsNone, Mode: target.ModeFlush,
				Offset: 1 << 20, Length: 512 << 20, Serial: "A B", ConfigString: `rack "7" #1`, line: 8},
			{Addr: frame.Addr{Shelf: 1, Slot: 4}, Path: "nbd://host/x", Buffers: 1, WireEdits: target.EditsAny, ReadOnly: true, Mode: target.ModeDirect,
				Mask: []frame.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}, line: 10},
			{Addr: frame.Addr{Shelf: 1, Slot: 5}, Path: "/etc/aoe/a b#c", Buffers: 128, WireEdits: target.EditsNone, ReadOnly: true, Mode: target.ModeDirect,
				Mask: []frame.MAC{mac}, line: 11},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read as\n%+v\nwant\n%+v", got, want)
	}
}

// TestMistakesHaveALine, all of them, and say what to do.
func TestMistakesHaveALine(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"disc e1.1 x", "begins with interface, default or disk"},
		{"interface", "want: interface eth1"},
		{"interface eth0", "eth0 is on line 1 already"},
		{"disk e1.1", "want an address and a path"},
		{"disk one.img e1.1", "not an AoE address"},
		{"disk e*.1 x", "may be many disks"},
		{"disk e9.9 y", "e9.9 is on line 2 already"},
		{`disk e1.1 ""`, "path is empty"},
		{`disk e1.1 "x`, "without an end"},
		{`disk e1.1 x\`, "end of the line"},
		{"disk e1.1 x fast", "want some of buffers, config-string, length, mask, mode"},
		{"disk e1.1 x mode", "want mode=VALUE"},
		{"disk e1.1 x mode=fast", "want one of sync, flush, direct"},
		{"disk e1.1 x read-only=maybe", "want yes or no"},
		{"disk e1.1 x offset=100", "not a multiple of 512"},
		{"disk e1.1 x length=1X", "not a size"},
		{"disk e1.1 x buffers=0", "from 1 up"},
		{"disk e1.1 x buffers=99999", "want 1 to 32767"},
		{"disk e1.1 x wire-edits=some", "none, listed or any"},
		{"disk e1.1 x mask=2", "mask:"},
		{"disk e1.1 x mask=02:00:00:00:00:01,020000000001", "twice"},
		{"disk e1.1 x serial=" + strings.Repeat("S", 21), "at most 20"},
		{"disk e1.1 x config-string=" + strings.Repeat("S", 1025), "at most 1024"},
		{"default serial=x", "not a default"},
		{"default speed=x", "no such option"},
	} {
		text := "interface eth0\ndisk e9.9 x\n" + row.line + "\n\nnonsense\n"
		_, err := Parse(text, "target.conf")
		if err == nil {
			t.Errorf("%s: was accepted", row.line)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "target.conf:3: ") || !strings.Contains(lines[0], row.want) ||
			!strings.HasPrefix(lines[1], "target.conf:5: ") {
			t.Errorf("%s:\n%v\nwant line 3 and %q, and line 5", row.line, err, row.want)
		}
	}
}

func TestNothingIsAMistake(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# nothing\n", "default read-only\n"} {
		if _, err := Parse(text, "x"); err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadSaysWhichFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "target.conf")
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that there is not: %v", err)
	}
	if err := os.WriteFile(path, []byte("disk e1.1 disk.img\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil || len(f.Disks) != 1 || f.Disks[0].Path != filepath.Join(filepath.Dir(path), "disk.img") {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestWhatIsChangedInPlace: all else takes serving the disk anew.
func TestWhatIsChangedInPlace(t *testing.T) {
	read := func(options string) Disk {
		t.Helper()
		d, err := ParseDisk(strings.Fields("e1.1 /x "+options), "")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, row := range []struct {
		options     string
		same, store bool
	}{
		{"", true, true}, {"read-only=no", true, true},
		{"length=1M", false, true}, {"mask=020000000001", false, true}, {"config-string=x", false, true}, {"wire-edits=any", false, true},
		{"mode=flush", false, false}, {"read-only", false, false}, {"offset=1M", false, false}, {"serial=x", false, false}, {"buffers=3", false, false},
	} {
		if a, b := read(""), read(row.options); a.Same(b) != row.same || b.SameStore(a) != row.store {
			t.Errorf("%q: same %v, same store %v", row.options, a.Same(b), a.SameStore(b))
		}
	}
}

func TestOpenAndServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := ParseDisk([]string{"e1.1", "disk.img", "offset=4096", "length=512", "read-only", "serial=S", "config-string=c", "buffers=7"}, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	st, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if n, err := st.Size(); n != 4096 || err != nil || !st.Info().ReadOnly {
		t.Errorf("%d bytes, %v, %+v", n, err, st.Info())
	}
	s := d.Served(st)
	if s.Addr != d.Addr || s.Store != st || s.Length != 512 || !s.ReadOnly || s.Serial != "S" || string(s.ConfigString) != "c" || s.BufferCount != 7 {
		t.Errorf("served as %+v", s)
	}
}

// FuzzParse: whatever the text, it is a file or a mistake, and a file that was
// read can be written down word by word and is the same.
func FuzzParse(f *testing.F) {
	f.Add("interface eth0\ndisk e1.1 \"a b\" mask=020000000001 length=1M\n")
	f.Add("default read-only\ndisk e1.2 x\\ y # z\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text, "/d/file")
		if err != nil {
			return
		}
		var b strings.Builder
		quote := func(s string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		}
		for _, i := range got.Interfaces {
			fmt.Fprintln(&b, "interface", quote(i))
		}
		for _, d := range got.Disks {
			fmt.Fprint(&b, "disk ", d.Addr, " ", quote(d.Path), " mode=", d.Mode, " offset=", d.Offset, " length=", d.Length)
			if d.ReadOnly {
				fmt.Fprint(&b, " read-only")
			}
			if d.Buffers > 0 {
				fmt.Fprint(&b, " buffers=", d.Buffers)
			}
			if d.WireEdits != 0 {
				fmt.Fprint(&b, " wire-edits=", d.WireEdits)
			}
			var macs []string
			for _, m := range d.Mask {
				macs = append(macs, m.String())
			}
			fmt.Fprintln(&b, " mask="+strings.Join(macs, ","), quote("serial="+d.Serial), quote("config-string="+d.ConfigString))
		}
		again, err := Parse(b.String(), "/d/file")
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, b.String(), err)
		}
		for i := range again.Disks {
			again.Disks[i].line = got.Disks[i].line
		}
		if !reflect.DeepEqual(got, again) {
			t.Errorf("%q was read as %+v, written as %q and read as %+v", text, got, b.String(), again)
		}
	})
}
