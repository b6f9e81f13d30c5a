package lab

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/cmd/internal/show"
)

func sample(ok bool) Report {
	r := Report{Seed: 42, Took: 31 * time.Second, OK: ok, Rows: []Row{
		{Step: "network", Did: "2 hosts, MTU 9000", Took: 12 * time.Millisecond, OK: true},
		{Step: "copy", Did: "10 files, 1M", Took: time.Second, Bytes: 120e6, OK: ok,
			Frames: &Frames{Admitted: 1234567, Freed: map[string]uint64{"tag": 3, "not AoE": 20, "none": 0}, Resent: 7, Low: 12, Reserve: 64}},
	}, Flooded: map[string]map[string]uint64{"initiator": {"foreign": 5000}}}
	if !ok {
		r.Rows[1].Error = "lab: 1 of 10 files are wrong"
	}
	return r
}

func TestReportReads(t *testing.T) {
	var b bytes.Buffer
	r := sample(true)
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"step     what was done",
		"copy     10 files, 1M         1s   120  1 234 567     23       7     12 of 64  ok",
		"copy: 20 not AoE, 3 tag\n",
		"Flood at the initiator: 5 000 foreign\n",
		"All of it held. Took 31s; seed 42",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
	b.Reset()
	r = sample(false)
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAILED\n", "copy: lab: 1 of 10 files are wrong\n", "It did not hold."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report of a failure lacks %q:\n%s", want, b.String())
		}
	}
}

func TestReportIsJSON(t *testing.T) {
	var b bytes.Buffer
	want := sample(true)
	if err := show.JSON(&b, want); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Seed != 42 || !got.OK || len(got.Rows) != 2 || got.Rows[1].Frames.FreedTotal() != 23 {
		t.Errorf("read back %+v", got)
	}
}

// TestProgressOnATerminalEndsWithTheLine: a bar while the step runs, cleared,
// then the same line as in a log.
func TestProgressOnATerminalEndsWithTheLine(t *testing.T) {
	var b bytes.Buffer
	p := &bars{w: &b}
	p.Begin("copy", 1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				p.Add(5)
			}
		})
	}
	wg.Wait()
	row := sample(true).Rows[1]
	p.End(row)
	if !strings.Contains(b.String(), "copy") || !strings.HasSuffix(b.String(), line(row)+"\n") {
		t.Errorf("printed %q", b.String())
	}
	p.Begin("mkfs", 0)
	p.End(row)
}

// TestNoBarInALog: what is not a terminal gets plain lines.
func TestNoBarInALog(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := NewProgress(f)
	p.Begin("copy", 1000)
	p.Add(1000)
	p.End(sample(false).Rows[1])
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := "copy         10 files, 1M                                               1s  FAILED: lab: 1 of 10 files are wrong\n"; string(got) != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}
