package guest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/guard"

	"aoe/cmd/internal/rundir"
)

func TestFindMechanisms(t *testing.T) {
	name := func(all []Mechanism) (n []string) {
		for _, m := range all {
			n = append(n, m.Name)
		}
		return n
	}
	got, err := FindMechanisms([]string{"lock", "guard", Nothing})
	if err != nil || !slices.Equal(name(got), []string{Nothing, "lock", "guard"}) {
		t.Errorf("found %v, %v", name(got), err)
	}
	if all, err := FindMechanisms([]string{"lock", "all"}); err != nil || len(all) != len(Mechanisms()) {
		t.Errorf("all are %v, %v", name(all), err)
	}
	if _, err := FindMechanisms([]string{"luck"}); err == nil || !strings.Contains(err.Error(), "io-flusher") {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestAblationReport(t *testing.T) {
	kernel := &rundir.Kernel{Guard: &guard.Stats{}}
	kernel.Guard.DroppedAoE = 70
	a := Ablation{Kernel: "6.12.1", What: "the recipe", Rows: []AblationRow{
		{Nothing, &Report{Trials: []*Trial{{Run: 1, Outcome: Survived, Took: time.Minute, PagesIn: 100, Forged: 77, Disk: &rundir.Status{Kernel: kernel}}}}},
		{"lock", &Report{Trials: []*Trial{
			{Run: 1, Outcome: Hung, WorstStall: time.Minute, Why: []string{"because"}, LogPath: "/x.log"},
			{Run: 2, Outcome: Survived, Took: 2 * time.Minute, PagesIn: 300},
			{Run: 3, Outcome: Hung},
		}}},
	}}
	var b strings.Builder
	if err := a.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"nothing    1 of 1  survived 1", "lock       1 of 3  hung 2, survived 1     2m0s       100",
		"Without lock:\nRun 1, hung (log: /x.log)\n  - because\n", "77 forged answers were sent; the guard dropped 70 frames of AoE",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("nothing of %q in\n%s", want, b.String())
		}
	}
}

// TestForgedAnswers: they are to the guest, in the target's name, of the disk, and
// each time with another tag.
func TestForgedAnswers(t *testing.T) {
	target := frame.MAC{2, 0, 0, 0, 0, 1}
	rng := rand.New(rand.NewPCG(1, 2))
	tags, lengths := map[uint32]bool{}, map[int]bool{}
	f := &flood{make: func(r *rand.Rand) []byte { return forgedAnswer(r, target) }, renew: randomTag}
	b := f.make(rng)
	for range 100 {
		f.renew(rng, b)
		h, arg, err := frame.Parse(b)
		if err != nil || h.Dst != guestMAC(0) || h.Src != target || !h.IsResponse() || h.IsError() || h.Addr != diskAddr(0) {
			t.Fatalf("%+v, %v", h, err)
		}
		if a, _, err := frame.ParseATA(arg); err != nil || a.Status() != frame.StatusDRDY {
			t.Fatalf("%+v, %v", a, err)
		}
		tags[h.Tag], lengths[len(b)] = true, true
		b = f.make(rng)
	}
	if len(tags) < 99 || len(lengths) != 2 {
		t.Errorf("%d tags and %d lengths in 100 frames", len(tags), len(lengths))
	}
}
