package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"aoe/frame"
)

// A manager is what systemd is to a service: a socket that it tells things.
type manager struct {
	t        *testing.T
	messages chan string   // what it is told, those of the watchdog apart
	watchdog chan struct{} // holds one when the watchdog was heard
}

// newManager sets NOTIFY_SOCKET for the processes of the test.
func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "aoe-notify-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t, make(chan string, 64), make(chan struct{}, 1)}
	done := make(chan struct{})
	go m.listen(conn, done)
	t.Cleanup(func() {
		conn.Close()
		<-done
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("NOTIFY_SOCKET", path)
	return m
}

// listen reads until conn is closed. As systemd it never stops reading: the
// kernel lets ten messages wait, then those who send them.
func (m *manager) listen(conn *net.UnixConn, done chan<- struct{}) {
	defer close(done)
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return // closed
		}
		if got := string(b[:n]); !strings.HasPrefix(got, "WATCHDOG=1\n") {
			m.messages <- got
			continue
		}
		select {
		case m.watchdog <- struct{}{}:
		default:
		}
	}
}

// told waits for the next message, which must hold the lines that begin so.
func (m *manager) told(want ...string) {
	m.t.Helper()
	select {
	case got := <-m.messages:
		for _, w := range want {
			if !strings.Contains("\n"+got, "\n"+w) {
				m.t.Fatalf("systemd is told %q, want %q", got, want)
			}
		}
	case <-time.After(patience):
		m.t.Fatalf("systemd is not told %q", want)
	}
}

// hears waits for the watchdog.
func (m *manager) hears() {
	m.t.Helper()
	select {
	case <-m.watchdog:
	case <-time.After(patience):
		m.t.Fatal("the watchdog is not heard")
	}
}

// served is what `aoe target list --json` tells of a disk.
type served struct {
	Addr     frame.Addr
	Sectors  int64
	Queries  uint64
	ReadOnly bool
}

func servedNow(t *testing.T, b *bed) map[string]served {
	t.Helper()
	var all []struct {
		Stats struct{ Disks []served }
	}
	out := mustRun(t, b.target, binary, "target", "list", "--json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	m := map[string]served{}
	for _, d := range all[0].Stats.Disks {
		m[d.Addr.String()] = d
	}
	return m
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTargetFollowsItsFile: a target of a file, as systemd runs it. It is told to
// read the file again, by a signal and by command; what is the same is not
// disturbed, and a mistake changes nothing.
func TestTargetFollowsItsFile(t *testing.T) {
	b := newBed(t, 9000)
	m := newManager(t)
	for _, name := range []string{"one", "two"} {
		write(t, filepath.Join(b.dir, name), strings.Repeat("\x00", 1<<20))
	}
	file := filepath.Join(b.dir, "target.conf")
	eth, host := b.initiator.Interface, b.initiator
	write(t, file, "interface "+b.target.Interface+"\ndisk e1.1 one\n")
	t.Setenv("WATCHDOG_USEC", "200000")
	p := start(t, b.target, binary, "serve", "--config", file, "--name", "lab", "-v")
	m.told("READY=1", "STATUS=serving 1 disks on 1 interfaces")
	m.hears()
	b.waitAnswers(t)
	queries := servedNow(t, b)["e1.1"].Queries
	if queries == 0 {
		t.Error("e1.1 has counted nothing")
	}

	write(t, file, "interface "+b.target.Interface+"\ndisk e1.1 one\ndisk e1.2 two length=512K read-only\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.told("RELOADING=1", "MONOTONIC_USEC=")
	m.told("READY=1", "STATUS=serving 2 disks on 1 interfaces")
	wantStatus(t, host, 0, "", "ping", "-i", eth, "-c", "1", "e1.2")

	write(t, file, "interface "+b.target.Interface+"\ndisk e1.3 one\ndisk e1.2 two mode=fast\n")
	wantStatus(t, host, 1, file+":3: mode: ", "target", "reload", "--target", "lab")
	m.told("RELOADING=1")
	m.told("READY=1", "STATUS=serving 2 disks on 1 interfaces")
	p.waitFor(t, `level=ERROR msg="[^"]*nothing is changed" error="?[^"]*target.conf:3`)
	if now := servedNow(t, b); len(now) != 2 || now["e1.1"].Queries < queries || now["e1.2"].Sectors != 1024 || !now["e1.2"].ReadOnly {
		t.Errorf("after a file with a mistake: %+v", now)
	}

	write(t, file, "interface "+b.target.Interface+"\ndisk e1.2 two length=256K read-only\n")
	wantStatus(t, host, 0, "0 added, 1 changed, 0 served anew, 1 removed", "target", "reload")
	m.told("RELOADING=1")
	m.told("READY=1")
	if now := servedNow(t, b); len(now) != 1 || now["e1.2"].Sectors != 512 {
		t.Errorf("after e1.1 was removed: %+v", now)
	}
	wantStatus(t, host, 3, "", "ping", "-i", eth, "-c", "1", "-s", "100ms", "e1.1")

	p.stop(t)
	m.told("STOPPING=1")
}

// TestTargetCommands: what each prints and returns, in order, and what the
// initiator notices of it.
func TestTargetCommands(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	two := filepath.Join(b.dir, "two.img")
	write(t, two, strings.Repeat("\x00", 1<<20))
	wantStatus(t, host, 3, "start one with aoe serve", "target", "list")
	wantStatus(t, host, 3, "start one with aoe serve", "target", "mask", "e1.1")
	p := b.serve(t, b.image(t, 1<<20))
	own := host.MAC.String()
	for _, s := range []struct {
		status int
		want   string
		args   string
	}{
		{0, "e1.1  0.001GB", "target list"},
		{0, "up  " + filepath.Join(b.dir, "disk.img"), "target list e1.1"},
		{1, "no such disk", "target list e1.9"},
		{2, "not an AoE address", "target list e1"},
		{0, "UNSERVED", "target stat"},

		{0, "e1.2  0.000GB", "target add e1.2 " + two + " length=512K buffers=9"},
		{4, "served already", "target add e1.2 " + two},
		{1, "no such file", "target add e1.3 " + two + "x"},
		{2, "no such option", "target add e1.3 " + two + " fast"},
		{0, "e1.2", "discover -i " + eth + " --wait 2s"},
		{0, "0.000GB", "target resize e1.2 256K"},
		{0, "0.001GB", "target resize e1.2 all"},
		{1, "make the store larger", "target resize e1.2 2M"},
		{2, "a size of 0", "target resize e1.2 0"},
		{2, "not a size", "target resize e1.2 big"},

		{0, "everybody", "target mask e1.2"},
		{0, "02:00:00:00:00:0a", "target mask e1.2 +02:00:00:00:00:0a"},
		{3, "", "ping -i " + eth + " -c 1 -s 100ms e1.2"},
		{0, own, "target mask e1.2 +" + own + " -02:00:00:00:00:0a"},
		{0, "", "ping -i " + eth + " -c 1 e1.2"},
		{0, "everybody", "target mask e1.2 -" + own},
		{2, "", "target mask e1.2 +2"},

		{0, "not reserved", "target reserve e1.2"},
		{0, "02:00:00:00:00:0a", "target reserve e1.2 set 02:00:00:00:00:0a"},
		{4, "reserved", "target reserve e1.2 set " + own},
		{2, "for whom", "target reserve e1.2 force"},
		{0, own, "target reserve e1.2 force " + own},
		{0, "not reserved", "target release e1.2"},

		{0, "first", "target config e1.2 set first"},
		{4, "config string present", "target config e1.2 set second"},
		{0, "first", "target config e1.2 test first"},
		{1, `no: its config string is "first"`, "target config e1.2 test fir"},
		{0, "first", "target config e1.2 prefix fir"},
		{0, "second", "target config e1.2 fset second"},
		{0, `"second"`, "target config e1.2 --json"},
		{0, "second", "cfg -i " + eth + " e1.2"},
		{2, "want a string", "target config e1.2 set"},

		{1, "--config", "target reload"},
		{3, "nobody", "target list -t nobody"},
		{0, "", "target remove e1.2"},
		{1, "no such disk", "target remove e1.2"},
		{2, "no command", "target format"},
	} {
		wantStatus(t, host, s.status, s.want, strings.Fields(s.args)...)
	}
	// Over the wire, nobody edits a disk without a mask.
	wantStatus(t, host, 1, "", "cfg", "-i", eth, "e1.1", "set", "mine")
	wantStatus(t, host, 0, "", "target", "mask", "e1.1", "+"+own)
	wantStatus(t, host, 0, "mine", "cfg", "-i", eth, "e1.1", "set", "mine")

	second := start(t, b.target, binary, "serve", "-i", b.target.Interface, "--name", "lab", "e2.1", "mem:1M")
	second.waitFor(t, "on "+b.target.Interface)
	p.waitFor(t, "e1.1")
	wantStatus(t, host, 0, "mine", "target", "config", "e1.1") // it is known who serves it
	wantStatus(t, host, 2, "name one", "target", "add", "e1.2", two)
	wantStatus(t, host, 0, "e1.2", "target", "add", "-t", "lab", "e1.2", two)
	out := mustRun(t, host, binary, "target", "list")
	if !strings.Contains(out, "lab     e2.1") || !strings.Contains(out, "target  e1.1") {
		t.Errorf("two targets are listed as\n%s", out)
	}
	second.stop(t)
	p.stop(t)
	wantStatus(t, host, 3, "no such target", "target", "stat")
}
