package open_test

import (
	"fmt"
	"strings"
	"testing"

	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
)

func TestEveryKindOpensWhatItSays(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	for kind, want := range map[string]string{
		open.Best: "*ring.Link",
		open.Ring: "*ring.Link",
		open.XDP:  "*xdp.Link",
		open.Raw:  "*raw.Link",
	} {
		var l link.Link
		err := pair.A.Do(func() (err error) { l, err = open.As(kind, pair.A.Interface); return err })
		if err != nil {
			t.Errorf("kind %q: %v", kind, err)
			continue
		}
		if got := fmt.Sprintf("%T", l); got != want || l.State().MAC != pair.A.MAC {
			t.Errorf("kind %q is a %s with state %+v, want a %s", kind, got, l.State(), want)
		}
		l.Close()
	}
	if got := fmt.Sprint(open.Kinds()); got != "[ring xdp raw]" {
		t.Errorf("kinds %v", got)
	}
}

// A failure is a nil interface, not an interface that holds a nil pointer, and
// names what there is.
func TestFailuresSayWhatThereIs(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	for _, kind := range open.Kinds() {
		var l link.Link
		err := pair.A.Do(func() (err error) { l, err = open.As(kind, "eth7"); return err })
		if l != nil || err == nil || !strings.Contains(err.Error(), "eth0") || !strings.HasPrefix(err.Error(), kind+": ") {
			t.Errorf("kind %s: %v, %v; want an error that names eth0", kind, l, err)
		}
	}
	if l, err := open.As("carrier-pigeon", "eth0"); l != nil || err == nil || !strings.Contains(err.Error(), "[ring xdp raw]") {
		t.Errorf("an unknown kind: %v, %v", l, err)
	}
}
