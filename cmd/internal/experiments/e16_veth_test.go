package experiments

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestStoppedReader: the real thing, with little work. Nothing is judged that
// depends on how busy the machine is.
func TestStoppedReader(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and packet sockets")
	}
	r, err := runOrdeals(context.Background(), 1, 20)
	if err != nil {
		t.Fatal(err)
	}
	told(t, stoppedReader(), r)
	for _, d := range r.Differs {
		if !strings.HasPrefix(d, "flood, readers reading") { // they may not get a processor in time
			t.Error(d)
		}
	}
	if len(r.Tables[0].Rows) != len(ordeals) {
		t.Errorf("%d cases of %d", len(r.Tables[0].Rows), len(ordeals))
	}
}
