package guest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aoe/cmd/internal/lab"
	"aoe/cmd/internal/rundir"
	"aoe/initiator"
)

func TestRecipeDefaults(t *testing.T) {
	r, err := Recipe{Initiator: "kernel"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if r.FillBytes != 192<<20 || r.Machine.MemoryBytes != 128<<20 || r.Machine.MTU != 9000 || r.Stall != time.Minute {
		t.Errorf("the recipe is %+v", r)
	}
	for name, bad := range map[string]Recipe{
		"no initiator":          {},
		"unknown initiator":     {Initiator: "fuse"},
		"a dead target alone":   {Initiator: "ublk", DeadTarget: true},
		"more fill than swap":   {Initiator: "ublk", FillBytes: 1 << 30},
		"too little memory":     {Initiator: "ublk", Machine: Machine{MemoryBytes: 16 << 20}},
		"a torn disk":           {Initiator: "ublk", Machine: Machine{DiskBytes: 512<<20 + 1}},
		"an unknown target":     {Initiator: "ublk", Machine: Machine{Target: "qaoed"}},
		"more disks than slots": {Initiator: "ublk", Machine: Machine{Disks: 17}},
	} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestScripts: whatever is asked for, the guest's shell can read it.
func TestScripts(t *testing.T) {
	for _, initiator := range Initiators {
		r, err := Recipe{
			Initiator: initiator, UnreadBytes: DefaultUnread, MinFreeKB: 8192, DeadTarget: true, Flood: 5000,
			Attach: []string{"--swap-safe", "it's --odd"}, Machine: Machine{Disks: 2},
		}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		script := r.script()
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", initiator, err, out, script)
		}
		want := []string{"disk e1.1", "disk e1.2", "8192 >/proc/sys/vm/min_free_kbytes", "--unread 50331648", "swapon"}
		if initiator != "kernel" {
			want = append(want, "--via "+vias[initiator], `'it'\''s --odd'`)
		}
		for _, w := range want {
			if !strings.Contains(script, w) {
				t.Errorf("%s: nothing of %q in\n%s", initiator, w, script)
			}
		}
		if m := r.machine(); !slices.Contains(m.Modules, initiatorModules[initiator]) {
			t.Errorf("%s: modules are %v", initiator, m.Modules)
		}
	}
}

func TestQEMUArguments(t *testing.T) {
	m, err := Machine{MemoryBytes: 96 << 20, KernelArgs: "quiet", Interfaces: 2, Target: "serve"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k := Kernel{image: "vmlinuz"}
	all, _, err := k.linuxArgs(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Join(all, " ")
	if archive, err := os.ReadFile(dir + "/initrd"); err != nil || archive[0] != 0x1f || archive[1] != 0x8b {
		t.Errorf("the archive of a small machine begins with % x, %v: not gzip", archive[:min(len(archive), 2)], err)
	}
	for _, want := range []string{"-accel tcg", "-m 98304K", "ifname=tap1", "unix:" + dir + "/qmp", "-kernel vmlinuz", "-initrd " + dir + "/initrd", "sysrq_always_enabled quiet"} {
		if !strings.Contains(args, want) {
			t.Errorf("nothing of %q in %s", want, args)
		}
	}
}

// TestFloodRate: as many as were asked for, of the length and kind that kill.
func TestFloodRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		f := &flood{make: foreignFrame}
		err := f.run(ctx, 5000, func(frames [][]byte) (int, error) {
			for _, b := range frames {
				if len(b) != 1000 || b[12] != lab.ForeignEtherType>>8 || b[13] != lab.ForeignEtherType&0xff {
					t.Fatalf("a frame of %d bytes begins with %x", len(b), b[:14])
				}
			}
			return len(frames), nil
		})
		if n := f.sent.Load(); err != nil || n < 49_000 || n > 50_000 {
			t.Errorf("%d frames in 10 s at 5000 a second (%v)", n, err)
		}
	})
}

func TestFloodTellsErrors(t *testing.T) {
	broken := errors.New("broken")
	if err := (&flood{make: foreignFrame}).run(t.Context(), -1, func([][]byte) (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("a flood that cannot send returns %v", err)
	}
}

func TestReport(t *testing.T) {
	disk := &rundir.Status{Stats: &initiator.Stats{}}
	disk.Stats.Reserve.Reserve, disk.Stats.Reserve.ReserveLow = 152, 7
	r := Report{Kernel: "6.12.1", What: Recipe{Initiator: "ublk", Flood: -1, UnreadBytes: DefaultUnread}.String(), Trials: []*Trial{
		{Run: 1, Outcome: Survived, Took: 61 * time.Second, PagesIn: 1234, PagesOut: 5678, Flooded: 9, WorstStall: 2 * time.Second, Disk: disk},
		{Run: 2, Outcome: Hung, Phase: "read 1/2", Why: []string{"because"}, LogPath: "/x.log"},
	}}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Linux 6.12.1, ublk initiator", "flood as fast as it goes, socket of 48M that nobody reads",
		"  1  survived  1m1s  the end      1 234      5 678        9       0              0           2s     7 of 152\n",
		"Run 2, hung (log: /x.log)\n  - because\n", "1 of 2 survived.\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("nothing of %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "Run 1,") {
		t.Error("a run that survived is explained")
	}
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"outcome":"hung"`) {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}
