package xdp

import (
	"testing"

	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
)

// openOn opens the host's interface for a test, which closes it.
func openOn(t testing.TB, h *veth.Host, cfg Config) *Link {
	t.Helper()
	cfg.Interface = h.Interface
	var l *Link
	err := h.Do(func() (err error) {
		l, err = Open(cfg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestTheSocketConforms(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		pair := vethtest.New(t, veth.Config{MTU: mtu})
		linktest.Conformance{
			Open: func(t *testing.T) (a, b link.Link) {
				return openOn(t, pair.A, Config{}), openOn(t, pair.B, Config{})
			},
			Flap: func(t *testing.T, up bool) {
				if err := pair.A.SetUp(up); err != nil {
					t.Fatal(err)
				}
			},
			Shrink: func(t *testing.T, mtu int) {
				if err := pair.A.SetMTU(mtu); err != nil {
					t.Fatal(err)
				}
			},
		}.Run(t)
	}
}
