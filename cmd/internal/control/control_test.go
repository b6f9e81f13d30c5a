package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
)

var (
	e11 = frame.Addr{Shelf: 1, Slot: 1}
	e12 = frame.Addr{Shelf: 1, Slot: 2}
	a   = frame.MAC{2, 0, 0, 0, 0, 1}
	b   = frame.MAC{2, 0, 0, 0, 0, 2}
)

// start is a target that listens, with e1.1 and a path for another disk.
func start(t *testing.T, dir rundir.Dir, name string) (*Server, string) {
	t.Helper()
	s, err := target.New(target.Config{Watch: -1, BufferCount: 2, Workers: 1, RecentWrites: -1})
	if err != nil {
		t.Fatal(err)
	}
	v := inventory.New(s, func(string) (link.Link, error) { return nil, errors.New("not used") })
	files := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(files, name), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.AddDisk(conf.Disk{Addr: e11, Path: filepath.Join(files, "one")}, inventory.CommandLine); err != nil {
		t.Fatal(err)
	}
	c, err := Listen(dir, Target{Name: name, Server: s, Inventory: v})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, filepath.Join(files, "two")
}

func find(t *testing.T, dir rundir.Dir, which string) *Client {
	t.Helper()
	c, err := Find(t.Context(), dir, which, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDisksThroughTheSocket: added, resized, edited, reserved and removed, and
// each time the status says so.
func TestDisksThroughTheSocket(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	_, two := start(t, dir, "")
	c, ctx := find(t, dir, "target"), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	disk := func(a frame.Addr) target.DiskStats {
		t.Helper()
		st, err := c.Status(ctx)
		must(err)
		i := slices.IndexFunc(st.Stats.Disks, func(d target.DiskStats) bool { return d.Addr == a })
		if i < 0 {
			t.Fatalf("%s is not in %+v", a, st)
		}
		return st.Stats.Disks[i]
	}
	must(c.Add(ctx, conf.Disk{Addr: e12, Path: two, Mode: target.ModeFlush, WireEdits: target.EditsNone, Mask: []frame.MAC{a}}))
	if d := disk(e12); d.Sectors != 2048 || d.Mode != target.ModeFlush || !slices.Equal(d.Settings.Mask, []frame.MAC{a}) {
		t.Errorf("added as %+v", d)
	}
	must(c.Resize(ctx, e12, 4096))
	if d := disk(e12); d.Sectors != 8 {
		t.Errorf("resized to %d sectors", d.Sectors)
	}
	set, err := c.Mask(ctx, e12, []string{"+" + b.String(), "-" + a.String()})
	if err != nil || !slices.Equal(set.Mask, []frame.MAC{b}) {
		t.Errorf("mask %v, %v", set.Mask, err)
	}
	set, err = c.Config(ctx, e12, []byte("a\xffb"), false)
	if err != nil || string(set.ConfigString) != "a\xffb" {
		t.Errorf("config string %q, %v", set.ConfigString, err)
	}
	if _, err = c.Config(ctx, e12, []byte("other"), false); !errors.Is(err, ErrConflict) {
		t.Errorf("set over another: %v", err)
	}
	_, err = c.Config(ctx, e12, nil, true)
	must(err)
	_, err = c.Reserve(ctx, e12, []frame.MAC{a}, false)
	must(err)
	if _, err = c.Reserve(ctx, e12, []frame.MAC{b}, false); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), a.String()) {
		t.Errorf("reserved over another: %v", err)
	}
	if set, err := c.Settings(ctx, e12); err != nil || !slices.Equal(set.Reserve, []frame.MAC{a}) || len(set.ConfigString) != 0 {
		t.Errorf("%+v, %v", set, err)
	}
	must(c.Remove(ctx, e12))
	st, err := c.Status(ctx)
	must(err)
	if len(st.Disks) != 1 || st.Disks[0].Origin != inventory.CommandLine || st.PID != os.Getpid() || st.Name != "target" {
		t.Errorf("status %+v", st)
	}
}

// TestMistakesAreTold, by what is wrong, and change nothing.
func TestMistakesAreTold(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	_, two := start(t, dir, "")
	c, ctx := find(t, dir, ""), t.Context()
	for _, row := range []struct {
		what string
		err  error
		want string
	}{
		{"an address twice", c.Add(ctx, conf.Disk{Addr: e11, Path: two}), "served already"},
		{"no such file", c.Add(ctx, conf.Disk{Addr: e12, Path: two + "x"}), "no such file"},
		{"a wildcard", c.Add(ctx, conf.Disk{Addr: frame.Anywhere, Path: two}), "wildcards"},
		{"no such disk", c.Remove(ctx, e12), "no such disk"},
		{"nothing to resize", c.Resize(ctx, e12, 0), "no such disk"},
		{"too large", c.Resize(ctx, e11, 1<<40), "make the store larger"},
		{"half a sector", c.Resize(ctx, e11, 100), "multiple of 512"},
		{"no sign", second(c.Mask(ctx, e11, []string{a.String()})), "want +MAC"},
		{"no word", second(c.Mask(ctx, e11, []string{""})), "want +MAC"},
		{"no MAC", second(c.Mask(ctx, e11, []string{"+2"})), "MAC"},
		{"no disk to mask", second(c.Mask(ctx, e12, nil)), "no such disk"},
		{"no file", second(c.Reload(ctx)), "--config"},
		{"settings of no disk", second(c.Settings(ctx, e12)), "no such disk"},
		{"a config string too long", second(c.Config(ctx, e11, make([]byte, 1025), true)), "at most 1024"},
	} {
		if row.err == nil || !strings.Contains(row.err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.what, row.err, row.want)
		}
	}
	if st, err := c.Status(ctx); err != nil || len(st.Disks) != 1 || st.Stats.Disks[0].Edits != 0 && len(st.Stats.Disks[0].Settings.Mask) != 0 {
		t.Errorf("afterwards: %+v, %v", st, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestMalformedRequests: whatever is sent, the answer says what is wrong with it,
// and the next one is served.
func TestMalformedRequests(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	start(t, dir, "x")
	c := find(t, dir, "x")
	for _, row := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/add", "", 400, "not the JSON"},
		{"POST", "/add", "{", 400, "not the JSON"},
		{"POST", "/add", `{"addr":"e1.2","path":"/x","speed":9}`, 400, "unknown field"},
		{"POST", "/add", `{"addr":"e1","path":"/x"}`, 400, "not an AoE address"},
		{"POST", "/add", `{"addr":"e1.2","path":"/x","mode":"fast"}`, 400, "want one of sync"},
		{"POST", "/remove", `{"addr":"e1.1"}{}`, 400, "more than one"},
		{"POST", "/remove", `["e1.1"]`, 400, "not the JSON"},
		{"POST", "/remove", `{"addr":"e9.9"}`, 404, "no such disk"},
		{"POST", "/mask", `{"addr":"e1.1","edits":["` + strings.Repeat("x", maxBodyBytes) + `"]}`, 400, "too large"},
		{"POST", "/format", `{}`, 404, ""},
		{"GET", "/remove", "", 405, ""},
		{"DELETE", "/status", "", 405, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), row.method, "http://target"+row.path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", row.method, row.path, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != row.status || !strings.Contains(string(text), row.want) {
			t.Errorf("%s %s %.60s: %d %q, %v; want %d, %q", row.method, row.path, row.body, resp.StatusCode, text, err, row.status, row.want)
		}
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestClientsThatHang keep nobody else waiting, and not the end of the target.
func TestClientsThatHang(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	s, _ := start(t, dir, "")
	for _, begin := range []string{"", "POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "GET /status HTTP/1.1\r\nHo", "\x00\xff"} {
		conn, err := dir.DialAt(t.Context(), socketName(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := find(t, dir, "").Status(t.Context()); err != nil {
		t.Errorf("beside clients that hang: %v", err)
	}
	closed := make(chan error)
	go func() { closed <- s.http.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("clients that hang keep the target from ending")
	}
	if all, err := List(t.Context(), dir); err != nil || len(all) != 0 {
		t.Errorf("after the end there are %v, %v", all, err)
	}
}

// TestTargetThatHangs does not hang who asks it.
func TestTargetThatHangs(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	sock, err := dir.ListenAt(socketName("stuck"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := newClient(dir, "stuck").Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a target that does not answer: %v", err)
	}
}

// TestWhichTargetIsMeant among several.
func TestWhichTargetIsMeant(t *testing.T) {
	dir := rundir.Dir(filepath.Join(t.TempDir(), "run"))
	if _, err := Find(t.Context(), dir, "", nil); !errors.Is(err, ErrNoTarget) || !strings.Contains(err.Error(), "aoe serve") {
		t.Errorf("none: %v", err)
	}
	start(t, dir, "")
	start(t, dir, "lab")
	third, two := start(t, dir, "")
	if third.Name != "target2" {
		t.Errorf("the second without a name is called %s", third.Name)
	}
	if err := newClient(dir, "target2").Add(t.Context(), conf.Disk{Addr: e12, Path: two}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		which string
		addr  *frame.Addr
		want  string
		err   error
	}{
		{"lab", nil, "lab", nil},
		{"lab", &e12, "lab", nil}, // who says so is obeyed
		{"", &e12, "target2", nil},
		{"", &e11, "", ErrAmbiguous},
		{"", &frame.Addr{Shelf: 9}, "", ErrAmbiguous},
		{"", nil, "", ErrAmbiguous},
		{"nobody", nil, "", ErrNoTarget},
	} {
		c, err := Find(t.Context(), dir, row.which, row.addr)
		if !errors.Is(err, row.err) || err == nil && c.Name != row.want {
			t.Errorf("%q, %v: %+v, %v, want %q, %v", row.which, row.addr, c, err, row.want, row.err)
		}
	}
	all, err := List(t.Context(), dir)
	if err != nil || len(all) != 3 || all[0].Name != "lab" || all[2].Name != "target2" {
		t.Errorf("list %+v, %v", all, err)
	}
	if _, err := Listen(dir, Target{Name: "lab"}); !errors.Is(err, rundir.ErrTaken) || !strings.Contains(err.Error(), "another --name") {
		t.Errorf("a name twice: %v", err)
	}
	for _, bad := range []string{"a/b", "..", "-x", strings.Repeat("n", 65), "a b"} {
		if _, err := Listen(dir, Target{Name: bad}); err == nil || !strings.Contains(err.Error(), "is no name") {
			t.Errorf("name %q: %v", bad, err)
		}
	}
}

// TestDeadTargetIsNotListed, and its name is free.
func TestDeadTargetIsNotListed(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(string(dir), socketName("target")), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if all, err := List(t.Context(), dir); err != nil || len(all) != 0 {
		t.Errorf("listed %v, %v", all, err)
	}
	if s, _ := start(t, dir, ""); s.Name != "target" {
		t.Errorf("called %s", s.Name)
	}
}

// TestSocketIsPrivate: who may connect may change everything.
func TestSocketIsPrivate(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	s, _ := start(t, dir, "")
	fi, err := os.Stat(filepath.Join(string(dir), socketName(s.Name)))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
}

func FuzzRequests(f *testing.F) {
	for _, text := range []string{`{"addr":"e1.1"}`, `{"addr":"e1.1","edits":["+020000000001","-020000000001"]}`, `{"addr":"e1.1","length":512}`,
		`{"addr":"e1.1","configString":"YWI=","force":true}`, `{"addr":"e1.1","reserve":["02:00:00:00:00:01"]}`} {
		f.Add("/mask", []byte(text))
		f.Add("/config", []byte(text))
	}
	s, err := target.New(target.Config{Watch: -1, BufferCount: 2, Workers: 1})
	if err != nil {
		f.Fatal(err)
	}
	v := inventory.New(s, func(string) (link.Link, error) { return nil, errors.New("not used") })
	routes := (&Server{target: Target{Server: s, Inventory: v}}).routes()
	if err := v.AddDisk(conf.Disk{Addr: e11, Path: "mem:1M"}, inventory.CommandLine); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if strings.Contains(string(body), `"path"`) {
			return // it is not to open files
		}
		r, err := http.NewRequest("POST", "http://target"+path, bytes.NewReader(body))
		if err != nil {
			return
		}
		w := &recorder{header: http.Header{}}
		routes.ServeHTTP(w, r)
		if w.status >= 400 && w.body.Len() == 0 {
			t.Errorf("%s %q: %d without a word", path, body, w.status)
		}
	})
}

// A recorder is where a handler writes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
