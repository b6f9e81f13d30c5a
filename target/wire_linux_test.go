package target_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/target"
	"aoe/target/store"
)

// onWire serves disks on one host of a cable.
func onWire(t *testing.T, pair *veth.Pair, cfg target.Config, disks ...target.Disk) *target.Server {
	t.Helper()
	s, err := target.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if err := s.AddDisk(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddLink(openRing(t, pair.B)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func openRing(t *testing.T, h *veth.Host) link.Link {
	t.Helper()
	return vethtest.Open(t, h, func() (*ring.Link, error) { return ring.Open(ring.Config{Interface: h.Interface}) })
}

// A caller asks over any link and asks again when there is no answer.
type caller struct {
	t      *testing.T
	link   link.Link
	bufs   [][]byte
	tag    uint32
	mac    frame.MAC
	target frame.MAC
}

func newCaller(t *testing.T, l link.Link, server frame.MAC) *caller {
	c := &caller{t: t, link: l, mac: l.State().MAC, target: server}
	for range 64 {
		c.bufs = append(c.bufs, make([]byte, 9100))
	}
	return c
}

func (c *caller) header(a frame.Addr, cmd aoe.Command) []byte {
	c.tag++
	return frame.Header{Dst: c.target, Src: c.mac, Addr: a, Command: cmd, Tag: c.tag}.Append(nil)
}

func (c *caller) ata(a frame.Addr, arg frame.ATA, data []byte) []byte {
	return frame.Pad(append(arg.Append(c.header(a, aoe.CommandIssueATACommand)), data...))
}

// ask sends f until it is answered.
func (c *caller) ask(f []byte) []byte {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := c.link.Send([][]byte{f}); err != nil {
			c.t.Fatal(err)
		}
		for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); {
			n, err := c.link.Recv(c.bufs, time.Until(until))
			if err != nil {
				c.t.Fatal(err)
			}
			for _, b := range c.bufs[:n] {
				if len(b) >= frame.HeaderLen && binary.BigEndian.Uint32(b[frame.TagOffset:]) == tagOf(f) && b[14]&frame.FlagResponse != 0 {
					return bytes.Clone(b)
				}
			}
		}
	}
	c.t.Fatal("no answer, however often it was asked for")
	return nil
}

// exercise writes blocks of a disk of n sectors in random order, and reads all
// of them back.
func (c *caller) exercise(a frame.Addr, n, per int, rng *rand.Rand) {
	c.t.Helper()
	image := make([]byte, n*frame.SectorSize)
	for i := range image {
		image[i] = byte(rng.Uint32())
	}
	block := func(i int) []byte { return image[i*frame.SectorSize:][:per*frame.SectorSize] }
	order := rng.Perm(n / per)
	for _, i := range order {
		f := c.ata(a, frame.NewATA(frame.OpWriteExt, uint64(i*per), uint8(per)), block(i*per))
		wantOK(c.t, c.ask(f))
	}
	for i := range order {
		got := c.ask(c.ata(a, frame.NewATA(frame.OpReadExt, uint64(i*per), uint8(per)), nil))
		wantData(c.t, got, block(i*per))
	}
}

// On a segment that loses, duplicates and reorders everything arrives in the end.
// No block is written twice here: a late copy of an earlier write (H1) is what
// an initiator's fence is for.
func TestServesOverABadSegment(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	sw := linktest.NewSwitch(linktest.Config{Seed: seed, MTU: 9000, Pad: true, Faults: linktest.Faults{
		Loss: 0.05, Duplicate: 0.1, Reorder: 0.2,
	}})
	before := runtime.NumGoroutine()
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddDisk(target.Disk{Addr: e11, Store: torn{store.Memory(1 << 20)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddLink(sw.Port(macTarget)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	p := sw.Port(macA)
	defer p.Close()
	newCaller(t, p, macTarget).exercise(e11, 800, 16, rand.New(rand.NewPCG(seed, 0)))
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	noLeak(t, before)
}

// A file, over a real link, with both sizes of frames.
func TestServesAFileOnAWire(t *testing.T) {
	for _, row := range []struct {
		name     string
		mtu, per int
	}{{"1500", 1500, 2}, {"9000", 9000, 16}} {
		t.Run(row.name, func(t *testing.T) {
			pair := vethtest.New(t, veth.Config{MTU: row.mtu})
			st, err := store.Open(store.Config{Path: image(t, 1<<20)})
			if err != nil {
				t.Fatal(err)
			}
			s := onWire(t, pair, target.Config{}, target.Disk{Addr: e11, Store: st})
			l := openRing(t, pair.A)
			defer l.Close()
			c := newCaller(t, l, pair.B.MAC)
			c.exercise(e11, 320, row.per, rand.New(rand.NewPCG(1, 0)))
			wantOK(t, c.ask(c.ata(e11, frame.NewATA(frame.OpFlushExt, 0, 0), nil)))
			if st := s.Stats(); st.Disks[0].Syncs == 0 || st.Links[0].Sectors < row.per || st.Links[0].Link.Received == 0 {
				t.Errorf("%d syncs, %d sectors, %d frames received", st.Disks[0].Syncs, st.Links[0].Sectors, st.Links[0].Link.Received)
			}
		})
	}
}

// TestH19CableOut: the server survives its cable being pulled, and is announced
// when it is back.
func TestH19CableOut(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	s := onWire(t, pair, target.Config{}, disk(e11, 1000))
	l := openRing(t, pair.A)
	defer l.Close()
	c := newCaller(t, l, pair.B.MAC)
	wantOK(t, c.ask(c.ata(e11, frame.NewATA(frame.OpReadExt, 0, 8), nil)))
	for _, change := range []struct {
		name string
		do   func() error
		want uint8
	}{
		{"down and up", func() error {
			if err := pair.B.SetUp(false); err != nil {
				return err
			}
			// Shorter than this, nobody notices that it was out.
			for deadline := time.Now().Add(patience); s.Stats().Links[0].Up; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the server does not notice")
				}
			}
			return pair.B.SetUp(true)
		}, 17},
		{"a smaller MTU", func() error { return pair.B.SetMTU(1500) }, 2},
		{"a larger MTU", func() error { return pair.B.SetMTU(9000) }, 17},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		c.announced(change.name, change.want)
		wantOK(t, c.ask(c.ata(e11, frame.NewATA(frame.OpReadExt, 0, 2), nil)))
	}
}

// announced waits for the announcement of n sectors in a frame.
func (c *caller) announced(what string, n uint8) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		k, err := c.link.Recv(c.bufs, 100*time.Millisecond)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, b := range c.bufs[:k] {
			if h, _, err := frame.Parse(b); err == nil && h.Tag == 0 && h.Dst == frame.Broadcast && configOf(c.t, b).SectorCount == n {
				return
			}
		}
	}
	c.t.Fatalf("%s: no announcement of %d sectors", what, n)
}

// tool runs a program of aoetools on host A.
func tool(t *testing.T, pair *veth.Pair, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skipf("needs %s: apt-get install aoetools", name)
		}
	}
	out, err := pair.A.Command(path, args...).CombinedOutput()
	t.Logf("%s %s\n%s", name, strings.Join(args, " "), out)
	return string(out), err
}

func TestPeerAoeping(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	d := disk(e11, 4096)
	d.Serial, d.Model = "SERIAL42", "A disk for aoeping"
	onWire(t, pair, target.Config{}, d)
	out, err := tool(t, pair, "aoeping", "-s", "5", "-I", "1", "1", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"SERIAL42", "A disk for aoeping"} {
		if !strings.Contains(out, s) {
			t.Errorf("aoeping does not say %q", s)
		}
	}
	// SMART is aborted, which aoeping must see at once and not wait for.
	if out, _ := tool(t, pair, "aoeping", "-s", "5", "-S", "read_data", "1", "1", "eth0"); strings.Contains(out, "timed out") {
		t.Error("aoeping waited for SMART")
	}
}

func TestPeerAoecfg(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	onWire(t, pair, target.Config{WireEdits: target.EditsAny}, disk(e11, 1000), disk(e12, 1000))
	cfg := func(args ...string) string {
		out, _ := tool(t, pair, "aoecfg", append(args, "-t", "1", "1", "1", "eth0")...)
		return out
	}
	for _, row := range []struct {
		name string
		args []string
		want string
		not  string
	}{
		{"read when empty", nil, "\n", "hello"},
		{"set", []string{"-c", "set", "-s", "hello"}, "hello", ""},
		{"read", []string{"-c", "read"}, "hello", ""},
		{"set again", []string{"-c", "set", "-s", "other"}, "badcfg", "other"},
		{"test", []string{"-c", "test", "-s", "hello"}, "hello", ""},
		{"test another", []string{"-c", "test", "-s", "hell"}, "", "hello"},
		{"prefix", []string{"-c", "prefix", "-s", "hell"}, "hello", ""},
		{"another prefix", []string{"-c", "prefix", "-s", "x"}, "", "hello"},
		{"force", []string{"-c", "fset", "-s", "forced"}, "forced", ""},
		{"read what was forced", nil, "forced", "hello"},
	} {
		out := cfg(row.args...)
		if !strings.Contains(out, row.want) || row.not != "" && strings.Contains(out, row.not) {
			t.Errorf("%s: aoecfg says %q, want %q and not %q", row.name, out, row.want, row.not)
		}
	}
	// Without an address it asks everyone.
	out, _ := tool(t, pair, "aoecfg", "-t", "1")
	if !strings.Contains(out, "1.1\tforced") || !strings.Contains(out, "1.2\t") {
		t.Errorf("aoecfg finds %q, want both disks", out)
	}
}

// aoe-sancheck identifies each disk with a request as large as the MTU.
func TestPeerAoeSancheck(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	onWire(t, pair, target.Config{}, disk(e11, 1000), disk(e21, 1000))
	out, err := tool(t, pair, "aoe-sancheck", "-v")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"e1.1", "e2.1"} {
		if !regexp.MustCompile(regexp.QuoteMeta(d) + `\s+1\s+8704\s+eth0`).MatchString(out) {
			t.Errorf("aoe-sancheck does not find %s with a payload of 17 sectors", d)
		}
	}
}
