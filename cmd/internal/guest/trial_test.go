package guest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// play judges a log as if a guest had just printed it. The words that begin what
// the machine lives with are left out: there is no machine.
func play(log string, end End, status int, hung bool) *trial {
	t := &trial{recipe: Recipe{Stall: time.Minute}, tell: func(string) {}}
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		if said, ok := Said(line); ok {
			t.note(said)
		}
		t.other(line)
	}
	if hung {
		t.asked = time.Unix(1, 0)
		t.heldStill = frameCount{received: 137, sent: 36, flood: 100}
	}
	t.judge(&Output{End: end, Status: status, Serial: []byte(log)})
	return t
}

func TestOutcomes(t *testing.T) {
	const begun = "[    1.0] guest: begins\n[    2.0] guest: ready\n[    3.0] guest: fill phase=read done=4096 of=8192 worst_us=1500\n"
	for _, row := range []struct {
		name, log string
		end       End
		status    int
		hung      bool
		want      Outcome
		why       string
	}{
		{"survived", begun + "[    4.0] guest: fill ended how=ok pages=8192 worst_us=2500 took_us=9\n", Exited, 0, false, Survived, ""},
		{"wrong", begun + "[    4.0] guest: fill ended how=wrong page=17 word=3\n", Exited, 1, false, WrongPage, "page 17"},
		{"unreadable", begun + "[    4.0] guest: fill ended how=unreadable\n", Exited, 1, false, IOError, ""},
		{"killed", begun + "[    4.0] Out of memory: Killed process 189 (aoe) total-vm:1kB\n", Exited, 137, false, OOM, "killed aoe"},
		{"panic", begun + "[    4.0] Kernel panic - not syncing: no more\n", Panicked, 0, false, Failed, "panicked: no more"},
		{"device", begun + "[    4.0] I/O error, dev etherd/e1.1, sector 24 op 0x1:(WRITE) flags 0x1000000\n" +
			"[    5.0] Out of memory: Killed process 1 (aoe)\n", Exited, 137, false, IOError, "1 requests to disks failed, the first of them to etherd/e1.1, sector 24"},
		{"slow", begun, TimedOut, 0, false, Slow, ""},
		{"no disk", "[    1.0] guest: begins\n[    2.0] guest: failed: e1.1 was not attached\n", Exited, 1, false, Failed, "e1.1 was not attached"},
		{"hung", begun, Stopped, 0, true, Hung, "requests go out and are answered"},
		// What ends well only on paper does not count.
		{"ok, then a bad status", begun + "[    4.0] guest: fill ended how=ok\n", Exited, 1, false, Failed, ""},
	} {
		got := play(row.log, row.end, row.status, row.hung)
		if got.Outcome != row.want {
			t.Errorf("%s: outcome %q, want %q", row.name, got.Outcome, row.want)
		}
		if why := strings.Join(got.Why, "\n"); !strings.Contains(why, row.why) {
			t.Errorf("%s: explained as %q, which does not say %q", row.name, why, row.why)
		}
	}
}

// TestExplain is the run that this project exists for: no room to receive.
func TestExplain(t *testing.T) {
	got := play(readLog(t, "receive.log"), Stopped, 0, true)
	want := []string{
		"what stalls is receiving: requests go out and are answered, but the network card has no room for the answers, " +
			"and who gives it room waits for memory that only those answers would free",
		"nothing moved for 1m0s; meanwhile the target received 137 frames, 100 of which were the flood's, and sent 36",
		"as last told by the guest: 119 pages free, 16 in write-back; between its last two tellings eth0 received 0 frames, dropped 0 and sent 2",
		"memory when asked: DMA has 184 kB free (minimum 2280, low mark 2336), DMA32 has 292 kB free (minimum 2868, low mark 3072)",
		"an allocation of order 0 with GFP_ATOMIC failed in ksoftirqd/0 (reported 1 times)",
		"an allocation of order 0 with GFP_ATOMIC failed in kswapd0 (reported 2 times)",
		"kworker/0:0/9: giving the network card room to receive into, waits for a bio: all that there are belong to writes that are not answered",
		"aoe/191: touching its own memory, waits for reclaim to get on: it was told to slow down",
		"aoe/192: reading a page back from swap, waits for memory: it is looking for pages to free by itself",
	}
	if !slices.Equal(got.Why, want) {
		t.Errorf("explained as\n%s\nwant\n%s", strings.Join(got.Why, "\n"), strings.Join(want, "\n"))
	}
	if got.PagesOut != 923 || got.PagesIn != 3 || got.Phase != "write 4096/49152" || got.WorstStall != 6968*time.Microsecond {
		t.Errorf("counted %+v", got.Trial)
	}
}

func TestConclude(t *testing.T) {
	blocked := func(functions ...string) []task { return []task{{"x", "1", "D", functions}} }
	for want, row := range map[string]struct {
		tasks []task
		h     frameCount
	}{
		"stalls is receiving: the network card": {blocked("refill_work"), frameCount{5, 0, 5}},
		"stalls is sending":                     {blocked("packet_sendmsg"), frameCount{5, 0, 5}},
		"no answer is made use of":              {nil, frameCount{9, 4, 5}},
		"the target does not answer":            {nil, frameCount{9, 0, 5}},
		"no request goes out":                   {nil, frameCount{5, 0, 5}},
	} {
		if got := strings.Join(conclude(row.tasks, row.h), "\n"); !strings.Contains(got, want) {
			t.Errorf("concluded %q, want %q", got, want)
		}
	}
}

func TestSaid(t *testing.T) {
	if said, ok := Said("[    3.303451] guest: exit status 7"); !ok || said != "exit status 7" {
		t.Errorf("said %q, %v", said, ok)
	}
	for _, line := range []string{"guest: exit status 0", "[    3.303451] other", "", "x] guest: y"} {
		if said, ok := Said(line); ok {
			t.Errorf("%q was taken for the guest's own words %q", line, said)
		}
	}
}

// TestStatBetweenComplaints: what aoe stat told is found between lines of the
// kernel's.
func TestStatBetweenComplaints(t *testing.T) {
	const begun = "[    1.0] guest: begins\n[    2.0] guest: ready\n"
	got := play(begun+"[    3.0] guest: fill ended how=ok\n[    4.0] guest: stat [\n[    4.1] guest: stat {\n"+
		"[    4.2] virtio_net: page allocation failure\n[    4.3] guest: stat \"device\": \"/dev/ublkb0\"\n"+
		"[    4.4] guest: stat }\n[    4.5] guest: stat ]\n", Exited, 0, false)
	if got.Outcome != Survived || got.Disk == nil || got.Disk.Device != "/dev/ublkb0" {
		t.Errorf("%s, %+v", got.Outcome, got.Disk)
	}
}
