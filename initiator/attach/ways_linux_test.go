package attach_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"aoe/initiator/attach"
)

// TestWays: what is said to be missing has a reason, and what is said to work
// has none.
func TestWays(t *testing.T) {
	ways := attach.Ways()
	var names []string
	for _, w := range ways {
		names = append(names, w.Name)
		if w.Available != (w.Reason == "") {
			t.Errorf("%s: available=%v, reason %q", w.Name, w.Available, w.Reason)
		}
		if w.Gives == "" || w.Swap == "" {
			t.Errorf("%+v is not complete", w)
		}
	}
	if want := []string{"ublk", "nbd-kernel", "fuse", "nbd"}; !slices.Equal(names, want) {
		t.Errorf("ways %v, want %v", names, want)
	}
	if !ways[len(ways)-1].Available {
		t.Error("NBD on a unix socket works everywhere")
	}
	first := slices.IndexFunc(ways[:3], func(w attach.Way) bool { return w.Available })
	if w, ok := attach.DefaultWay(); ok != (first >= 0) || ok && w.Name != ways[first].Name {
		t.Errorf("default %+v, %v, of %+v", w, ok, ways)
	}
	if w := ways[1]; !w.Available && os.Geteuid() == 0 && !strings.Contains(w.Reason, "modprobe nbd") {
		t.Errorf("nbd-kernel: %q says not what to do", w.Reason)
	}
	if w := ways[0]; !w.Available && os.Geteuid() == 0 && !strings.Contains(w.Reason, "modprobe ublk_drv") && !strings.Contains(w.Reason, "Linux 6.5") {
		t.Errorf("ublk: %q says not what to do", w.Reason)
	}
}
