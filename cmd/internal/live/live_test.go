package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/cmd/internal/browser/browsertest"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/tier"
	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/engine"
	"aoe/reserve"
)

var disk = frame.Addr{Shelf: 1, Slot: 1}

// A fakeDisk is busy: each time it is asked, more has happened.
type fakeDisk struct {
	mu     sync.Mutex
	asked  int
	still  bool // nothing happens any more
	regime reserve.Regime
}

func (f *fakeDisk) Detach(context.Context) error { return errors.New("it stays") }

func (f *fakeDisk) Status() rundir.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.still {
		f.asked++
	}
	n := uint64(f.asked)
	st := &initiator.Stats{Addr: disk}
	st.Requests, st.Sent, st.Retransmitted, st.Answered = 100*n, 1000*n, 40*n, 950*n
	st.Drops = engine.Drops{Tag: 700 * (n - n%3), EtherType: 500 * n, Late: 40 * n}
	st.InFlight, st.Window = int(n*7%60), 64
	st.Read = engine.Gauge{Samples: n, Smooth: time.Duration(300+n*37%200) * time.Microsecond}
	st.Write = engine.Gauge{Samples: n, Smooth: time.Duration(900+n*91%700) * time.Microsecond}
	st.Reserve = reserve.Stats{Regime: f.regime, Reserve: 80, FreeReserve: 80 - int(n*11%50), ReserveLow: 12, FromReserve: 3 * n}
	return rundir.Status{
		Addr: disk, Device: "/dev/loop7", Via: "fuse", State: "up", SizeBytes: 1 << 30,
		Since: time.Unix(1e9, 0).UTC(), Stats: st, Tier: &tier.Tier{Name: "T1"},
	}
}

// shown is a page that shows a disk.
func shown(t *testing.T, f *fakeDisk) *Page {
	t.Helper()
	dir := rundir.Dir(filepath.Join(t.TempDir(), "run"))
	s, err := rundir.Listen(dir, disk, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.Watch(dir, disk)
	return p
}

func get(t *testing.T, url string) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(text)
}

// eventually waits for something that happens within a look or two.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute: %s", what)
		}
	}
}

// TestStats: what aoe stat tells is told, whole and the same.
func TestStats(t *testing.T) {
	f := &fakeDisk{still: true, asked: 5, regime: reserve.Crunch}
	p := shown(t, f)
	p.Begin("copy")
	var got struct {
		Sample Sample
		Steps  []Step
		Disk   *rundir.Status
	}
	eventually(t, "no disk in /stats", func() bool {
		_, _, text := get(t, p.URL()+"stats")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		return got.Disk != nil
	})
	if want := f.Status(); !reflect.DeepEqual(*got.Disk, want) {
		t.Errorf("got %+v, want %+v", *got.Disk, want)
	}
	c := got.Sample.Counters
	if c == nil || c.Regime != "crunch" || c.Free != 80-55%50 || c.Low != 12 || c.Admitted != 4750 || c.Freed != 700*3+500*5+40*5 ||
		c.FreedBy["tag never given out"] != 2100 || c.Read == nil || *c.Read != 300+5*37 || c.Network != nil {
		t.Errorf("sample %+v, counters %+v", got.Sample, c)
	}
	if len(got.Steps) != 1 || got.Steps[0].Name != "copy" || got.Steps[0].Done {
		t.Errorf("steps %+v", got.Steps)
	}
}

// readEvent reads one server-sent event.
func readEvent(in *bufio.Reader) (name, data string, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return name, data, nil
		}
		switch field, value, _ := strings.Cut(line, ": "); field {
		case "event":
			name = value
		case "data":
			data = value
		}
	}
}

// TestEvents: the past, then each look, the steps, and at the end the verdict and
// the end.
func TestEvents(t *testing.T) {
	p := shown(t, &fakeDisk{})
	r, err := http.Get(p.URL() + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	in := bufio.NewReader(r.Body)
	if name, data, err := readEvent(in); err != nil || name != "history" || !strings.HasPrefix(data, "[") {
		t.Fatalf("%s %s, %v", name, data, err)
	}
	next := func() (u update) {
		name, data, err := readEvent(in)
		if err == nil {
			err = json.Unmarshal([]byte(data), &u)
		}
		if err != nil || name != "sample" {
			t.Fatalf("%s %s, %v", name, data, err)
		}
		return u
	}
	for u := next(); !u.Sample.Attached; u = next() {
	}
	first, second := next(), next()
	if second.Sample.At <= first.Sample.At || second.Sample.Counters.Admitted <= first.Sample.Counters.Admitted {
		t.Errorf("%+v, then %+v", first.Sample, second.Sample)
	}
	p.Begin("copy")
	for u := next(); len(u.Steps) == 0; u = next() {
	}
	p.End(Step{Name: "copy", Did: "7 files", OK: true, Took: time.Second})
	u := next()
	for ; !u.Steps[0].Done; u = next() {
	}
	if s := u.Steps[0]; !s.OK || s.Did != "7 files" || s.Took != time.Second {
		t.Errorf("step %+v", s)
	}
	p.Finish("All of it held.")
	for u = next(); u.Finished == ""; u = next() {
	}
	if u.Finished != "All of it held." || u.Sample.Attached {
		t.Errorf("the end is %+v", u)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for err == nil {
		_, _, err = readEvent(in)
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want EOF", err)
	}
}

// TestManyReaders: there is a bound, and who leaves makes room.
func TestManyReaders(t *testing.T) {
	before := runtime.NumGoroutine()
	p := shown(t, &fakeDisk{})
	ctx, leave := context.WithCancel(t.Context())
	for range mostReader {
		q, err := http.NewRequestWithContext(ctx, "GET", p.URL()+"events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
	}
	if status, _, text := get(t, p.URL()+"events"); status != http.StatusServiceUnavailable || !strings.Contains(text, "too many") {
		t.Errorf("one more: %d %s", status, text)
	}
	leave()
	eventually(t, "readers that left are still there", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.readers) == 0
	})
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before+2 }) // the fake disk's
}

// TestPage: nothing but the page is served, and its policy is that of what it
// holds.
func TestPage(t *testing.T) {
	p := shown(t, &fakeDisk{})
	status, header, text := get(t, p.URL())
	csp := header.Get("Content-Security-Policy")
	if status != http.StatusOK || text != page || !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("%d, policy %s", status, csp)
	}
	for _, path := range []string{"index.html", "../../etc/passwd", "stats/"} {
		if status, _, _ := get(t, p.URL()+path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	r, err := http.Post(p.URL()+"stats", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	for _, bad := range []string{"src=\"http", "href=\"http", "@import", "url("} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %s in it", bad)
		}
	}
}

// TestNoPage: a lab that is not shown need not know.
func TestNoPage(t *testing.T) {
	var p *Page
	p.Watch("/nowhere", disk)
	p.Begin("copy")
	p.End(Step{})
	p.Finish("")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Listen("127.0.0.1:no"); err == nil {
		t.Error("no such port, and no error")
	}
}

// TestInBrowser: while a disk is busy, when memory is short, when none is attached,
// and at the end.
func TestInBrowser(t *testing.T) {
	b := browsertest.Start(t)
	for _, row := range []struct {
		name  string
		make  func(*testing.T) *Page
		ready string
	}{
		{"busy", func(t *testing.T) *Page {
			p := shown(t, &fakeDisk{})
			for _, name := range []string{"network", "attach", "copy"} {
				p.Begin(name)
				p.End(Step{Name: name, Did: "11478 files, 121.7M, of /usr/local/go/src", OK: true, Took: 6 * time.Second})
			}
			p.Begin("verify")
			eventually(t, "no history", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.history) > 40 })
			return p
		}, `samples.length > 40 && document.querySelectorAll("path.a").length == 4 && steps.length == 4`},
		{"crunch", func(t *testing.T) *Page {
			p := shown(t, &fakeDisk{regime: reserve.Crunch})
			p.Begin("no memory")
			p.End(Step{Name: "no memory", Did: "reserve only, 10000 foreign and forged frames/s", Why: "lab: not one forged reply arrived: there was no flood"})
			return p
		}, `document.getElementById("regime").textContent == "memory: crunch" && document.querySelectorAll("path.b").length >= 3`},
		{"not attached", func(t *testing.T) *Page {
			p := shown(t, &fakeDisk{})
			p.Watch("", disk)
			return p
		}, `document.getElementById("state").textContent == "not attached"`},
		{"ended", func(t *testing.T) *Page {
			p := shown(t, &fakeDisk{})
			eventually(t, "no history", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.history) > 4 })
			p.Finish("All of it held.")
			return p
		}, `document.getElementById("verdict").textContent == "All of it held."`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := row.make(t)
			browsertest.Test(t, b, browsertest.Page{
				URL: p.URL(), Ready: row.ready,
				Mine: func(url string) bool { return strings.HasPrefix(url, p.URL()) },
			})
		})
	}
}
