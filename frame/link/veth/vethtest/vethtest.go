// Package vethtest makes the hosts of package veth for tests: it skips the test
// where there is no permission to make them, and removes them after it.
package vethtest

import (
	"errors"
	"io"
	"os"
	"testing"

	"aoe/frame/link/veth"
)

// New is [veth.New] for a test: without permission t is skipped with what to do
// about it, and the pair is closed when t ends. Links of the test must be
// closed before, in a Cleanup registered later.
func New(t testing.TB, cfg veth.Config) *veth.Pair {
	t.Helper()
	p, err := veth.New(cfg)
	check(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Open is what open opens on a host, as a link of its interface. Closing it is the
// test's.
func Open[T io.Closer](t testing.TB, h *veth.Host, open func() (T, error)) (opened T) {
	t.Helper()
	err := h.Do(func() (err error) {
		opened, err = open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// NewBridge is [veth.NewBridge] for a test.
func NewBridge(t testing.TB, cfg veth.Config, hosts int) *veth.Bridge {
	t.Helper()
	b, err := veth.NewBridge(cfg, hosts)
	check(t, err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func check(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
