package attach_test

import (
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
	for _, w := range ways[:2] {
		if !strings.Contains(w.Reason, "not built into this program yet") {
			t.Errorf("%s: %q", w.Name, w.Reason)
		}
	}
	if w, ok := attach.DefaultWay(); ok != ways[2].Available || ok && w.Name != "fuse" {
		t.Errorf("default %+v, %v", w, ok)
	}
}
