package e2e

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/trace"
)

// traced is what aoe trace --json prints of a capture.
func traced(t *testing.T, path string) (all []trace.Event, sum trace.Summary) {
	t.Helper()
	out, err := exec.Command(binary, "trace", "--json", "--read", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		var last struct{ Summary *trace.Summary }
		var e trace.Event
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
		if last.Summary != nil {
			return all, *last.Summary
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	t.Fatal("aoe trace --json printed no summary")
	return nil, sum
}

// TestTraceAgreesWithTshark: frame by frame, on a run with every command, the tags
// and the time from request to answer are those of an independent dissector.
func TestTraceAgreesWithTshark(t *testing.T) {
	needProgram(t, "tshark", "tshark")
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	finish := b.capture(t)
	live := filepath.Join(b.dir, "live.pcap")
	tracing := start(t, host, binary, "trace", "-i", eth, "--write", live)
	tracing.waitFor(t, "tracing "+eth)
	server := b.serve(t, b.image(t, 16<<20), "--wire-edits", "any")
	image := b.random(t, "source.img", 4<<20)
	mustRun(t, host, binary, "copy", "-i", eth, "--verify", image, "e1.1")
	for _, args := range []string{"discover", "cfg e1.1 set x", "reserve e1.1 set", "release e1.1", "mask e1.1", "flush --cache e1.1"} {
		mustRun(t, host, binary, append(strings.Fields(args), "-i", eth)...)
	}
	server.stop(t)
	path := finish()
	tracing.stop(t)
	if !strings.Contains(tracing.output(), "--- ") || !strings.Contains(tracing.output(), "WRITE SECTORS EXT") {
		t.Errorf("the live trace has no summary:\n%s", tracing.output())
	}

	events, sum := traced(t, path)
	out, err := exec.Command("tshark", "-r", path, "-Y", "aoe", "-T", "fields", "-e", "aoe.tag", "-e", "aoe.response", "-e", "aoe.time").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n") // a last empty column stays
	if len(lines) != len(events) || uint64(len(lines)) != sum.Frames {
		t.Fatalf("tshark finds %d AoE frames, aoe trace %d, and counts %d", len(lines), len(events), sum.Frames)
	}
	compared := 0
	for i, line := range lines {
		f := strings.Split(line, "\t")
		tag, err := strconv.ParseUint(f[0], 0, 32)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		answer := f[1] == "1" || f[1] == "True"
		if uint32(tag) != events[i].Tag || answer != events[i].Answer {
			t.Fatalf("frame %d: tshark %q, aoe trace %+v", i, line, events[i])
		}
		if f[2] == "" || !answer || events[i].Stray {
			continue
		}
		seconds, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(seconds-events[i].Latency.Seconds()) > 2e-9 {
			t.Errorf("frame %d: tshark %v s, aoe trace %v: %s", i, seconds, events[i].Latency, events[i].Text)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("only %d times were compared", compared)
	}
	t.Logf("%d frames, %d times the same", len(lines), compared)

	// Both began and ended at moments of their own, and dumpcap does not write
	// what it had not read when it was told to end.
	again, _ := traced(t, live)
	type frame struct {
		tag    uint32
		answer bool
	}
	seen := map[frame]bool{}
	for _, e := range again {
		seen[frame{e.Tag, e.Answer}] = true
	}
	missed := 0
	for _, e := range events {
		if !seen[frame{e.Tag, e.Answer}] {
			missed++
		}
	}
	if missed > 20 {
		t.Errorf("of %d captured frames, %d are not in the live trace of %d", len(events), missed, len(again))
	}
	if n, err := exec.Command("tshark", "-r", live, "-Y", "!aoe || _ws.malformed").Output(); err != nil || len(n) > 0 {
		t.Errorf("tshark of what was written: %v\n%s", err, n)
	}
}

// TestTraceFindsWhatWasLost: a target that is away for a while makes requests
// that are sent again.
func TestTraceFindsWhatWasLost(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	file := filepath.Join(b.dir, "lost.pcap")
	tracing := start(t, host, binary, "trace", "-i", eth, "--write", file, "e1.*")
	tracing.waitFor(t, "tracing "+eth)
	disk := b.image(t, 64<<20)
	server := b.serve(t, disk)
	copying := start(t, host, binary, "copy", "-i", eth, "--chunk", "64K", "--depth", "1", b.random(t, "source.img", 64<<20), "e1.1")
	b.waitWritten(t, disk, copying)
	server.kill(t)
	// The target is away for a length of time, which the trace must find: nothing to
	// wait for.
	const away = 300 * time.Millisecond
	outage := time.NewTimer(away)
	<-outage.C
	server = b.serve(t, disk)
	select {
	case <-copying.done:
	case <-time.After(patience):
		t.Fatal("the copy does not end")
	}
	tracing.stop(t)
	_, sum := traced(t, file)
	again, longest, written := uint64(0), time.Duration(0), false
	for _, k := range sum.Kinds {
		again, longest = again+k.Again, max(longest, k.Max)
		written = written || k.Name == "WRITE SECTORS EXT" && k.Answered > 0 // not all: a busy machine drops some of what is traced
	}
	if !written || again == 0 || longest < away {
		t.Errorf("nothing was sent again, or nothing waited for the target: %+v", sum)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	wantStatus(t, host, 3, "no AoE frame", "trace", "--read", file, "e7.*")
	server.stop(t)
}
