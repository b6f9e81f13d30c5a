package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAccessCommands: config string, mask and reserve list, of our target and of
// vblade, with what each step prints and returns.
func TestAccessCommands(t *testing.T) {
	for _, row := range []struct {
		name  string
		serve func(*bed, *testing.T)
	}{
		{"ours", func(b *bed, t *testing.T) { b.serve(t, b.image(t, 1<<20), "--wire-edits", "any") }},
		{"vblade", func(b *bed, t *testing.T) { b.vblade(t, b.image(t, 1<<20)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBed(t, 1500)
			host, eth := b.initiator, b.initiator.Interface
			wantStatus(t, host, 3, "nobody answers on "+eth, "cfg", "-i", eth, "-t", "100ms", "e1.1")
			row.serve(b, t)
			own := regexp.MustCompile(`link/ether (\S+)`).FindStringSubmatch(mustRun(t, host, "ip", "link", "show", eth))[1]
			for _, s := range accessSteps(own, eth) {
				if row.name == "vblade" && s.removes {
					continue // it crashes, of moving a negative number of bytes
				}
				out := wantStatus(t, host, s.status, "", append(strings.Fields(s.args), "-i", eth)...)
				if s.want != "" && !strings.Contains("\n"+out, "\n"+s.want+"\n") {
					t.Errorf("aoe %s: printed %q, want the line %q", s.args, out, s.want)
				}
			}
		})
	}
}

// An accessStep is a command line, and what comes of it.
type accessStep struct {
	status int
	want   string // all of a line of the output
	args   string

	removes bool // a MAC from the mask, or rests on that
}

// accessSteps go through the commands. The initiator's interface is eth and has
// the MAC own.
func accessSteps(own, eth string) []accessStep {
	const other = "02:00:00:00:00:77"
	const refused = "aoe: e1.1 is reserved for " + other + ": only they may change that, or who forces it"
	return []accessStep{
		{args: "cfg e1.1"},
		{want: "first", args: "cfg e1.1 set first"},
		{want: "first", args: "cfg e1.1"},
		{want: "first", args: "cfg e1.1 test first"},
		{status: 1, want: `aoe: e1.1: no: its config string is "first"`, args: "cfg -t 150ms e1.1 test fir"},
		{want: "first", args: "cfg e1.1 prefix fir"},
		{status: 1, want: `aoe: e1.1 has a config string, "first": fset replaces it`, args: "cfg e1.1 set third"},
		{want: "second", args: "cfg e1.1 fset second"},
		{status: 3, want: "aoe: nobody answered", args: "cfg -t 100ms e9.*"},

		{want: "not reserved", args: "reserve e1.1"},
		{want: own + "  " + eth, args: "reserve e1.1 set"},
		{want: other, args: "reserve e1.1 set self " + other},
		{want: other, args: "reserve e1.1 force " + other},
		{status: 4, want: refused, args: "reserve e1.1 set"},
		{status: 4, want: refused, args: "release e1.1"},
		{want: "not reserved", args: "release --force e1.1"},

		{args: "flush --cache e1.1"},
		{status: 1, args: "identify e1.1 --smart read_data"},

		{want: "everybody", args: "mask e1.1"},
		{want: own + "  " + eth, args: "mask e1.1 +self"},
		{want: other, args: "mask e1.1 +" + other},
		{want: own + "  " + eth, args: "mask e1.1 -" + other, removes: true},
		{want: "everybody", args: "mask e1.1 -self", removes: true},
		// Now nobody here is on the list: the disk is silent.
		{want: other, args: "mask e1.1 +" + other, removes: true},
		{status: 3, want: "aoe: e1.1: nobody answers on " + eth, args: "mask -t 150ms e1.1", removes: true},
	}
}

// TestIdentifyPrintsWhatAoepingDoes: the same 512 bytes, from the same disk.
func TestIdentifyPrintsWhatAoepingDoes(t *testing.T) {
	needProgram(t, "aoeping", "aoetools")
	b := newBed(t, 1500)
	b.serve(t, b.image(t, 1<<20))
	host, eth := b.initiator, b.initiator.Interface
	theirs := mustRun(t, host, "aoeping", "-i", "-s", "5", "1", "1", eth)
	_, theirs, _ = strings.Cut(theirs, "identify response:\n")
	raw := []byte(mustRun(t, host, binary, "identify", "-i", eth, "--raw", "e1.1"))
	var hex bytes.Buffer
	for _, c := range raw {
		hex.WriteString(strings.ToLower(string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15])))
	}
	if got, want := hex.String(), strings.Join(strings.Fields(theirs), ""); len(raw) != 512 || got != want {
		t.Errorf("aoe identify --raw:\n%s\naoeping -i:\n%s", got, want)
	}
	var id struct {
		SizeBytes int64 `json:"sizeBytes"`
		Identify  struct{ Serial string }
	}
	out := mustRun(t, host, binary, "identify", "-i", eth, "--json", "e1.1")
	if err := json.Unmarshal([]byte(out), &id); err != nil || id.SizeBytes != 1<<20 || id.Identify.Serial == "" {
		t.Errorf("%+v, %v, from\n%s", id, err, out)
	}
	wantStatus(t, host, 0, id.Identify.Serial, "identify", "-i", eth, "e1.1")
}

// TestCfgPrintsWhatAoecfgDoes: what each tool sets, the other reads.
func TestCfgPrintsWhatAoecfgDoes(t *testing.T) {
	needProgram(t, "aoecfg", "aoetools")
	b := newBed(t, 1500)
	b.serve(t, b.image(t, 1<<20), "--wire-edits", "any")
	host, eth := b.initiator, b.initiator.Interface
	aoecfg := func(args ...string) string {
		t.Helper()
		// It listens until its time is over, and then says so with its status.
		out, _ := run(t, host, "aoecfg", append(append([]string{"-t", "1"}, args...), "1", "1", eth)...)
		return out
	}
	for _, text := range []string{"one", "two words, and \"quotes\""} {
		mustRun(t, host, binary, "cfg", "-i", eth, "e1.1", "fset", text)
		if theirs, ours := aoecfg(), mustRun(t, host, binary, "cfg", "-i", eth, "e1.1"); theirs != ours || ours != text+"\n" {
			t.Errorf("of %q aoecfg prints %q, aoe cfg %q", text, theirs, ours)
		}
	}
	aoecfg("-c", "fset", "-s", "theirs")
	wantStatus(t, host, 0, "theirs\n", "cfg", "-i", eth, "e1.1", "test", "theirs")
}

// TestRevalidateTellsOfAnotherSize: a disk that has grown, and one that is down,
// which flush then detaches.
func TestRevalidateTellsOfAnotherSize(t *testing.T) {
	b := newBed(t, 1500)
	image := b.image(t, 16<<20)
	server := b.serve(t, image)
	daemon, device := b.attach(t, "--deadsecs", "1")
	wantStatus(t, b.initiator, 0, "e1.1  0.016GB  eth0  up  "+device, "revalidate", device)
	server.stop(t)
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	server = b.serve(t, image)
	out, err := run(t, b.initiator, binary, "revalidate", "e1.1")
	// The process that holds the disk may have noticed before us.
	if got := status(t, err); got != 0 && !(got == 1 && strings.Contains(out, "it has grown to 0.033GB")) {
		t.Errorf("status %d, printed %q", got, out)
	}
	server.kill(t)
	wantStatus(t, b.initiator, 3, "nobody answers", "revalidate", "-t", "200ms", "e1.1")
	for deadline := time.Now().Add(patience); ; {
		if out, err := exec.Command(binary, "stat").Output(); err == nil && strings.Contains(string(out), "down") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a disk whose target is gone is not down after its dead time")
		}
	}
	wantStatus(t, b.initiator, 0, "e1.1 detached", "flush")
	select {
	case <-daemon.done:
	case <-time.After(patience):
		t.Fatal("the process of a disk that was flushed goes on")
	}
}
