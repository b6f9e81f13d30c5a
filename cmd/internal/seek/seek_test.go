package seek

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// A world has two segments, eth0 and eth1, and targets on them.
type world map[string]*linktest.Switch

func newWorld() world {
	return world{"eth0": linktest.NewSwitch(linktest.Config{}), "eth1": linktest.NewSwitch(linktest.Config{})}
}

func (w world) open(name string) (link.Link, error) {
	sw, ok := w[name]
	if !ok {
		return nil, fmt.Errorf("no interface %s", name)
	}
	return sw.Port(frame.MAC{2, 0, 0, 0, 0, 1}), nil
}

func (w world) serve(t *testing.T, name string, last byte, serial string) frame.MAC {
	mac := frame.MAC{2, 0, 0, 0, 1, last}
	initiatortest.Start(t, w[name].Port(mac), initiatortest.Config{Addr: e11, Serial: serial})
	return mac
}

func TestOneDiskIsFound(t *testing.T) {
	const noWait = 1 // nanosecond: nobody answers that fast
	for _, row := range []struct {
		name   string
		served []string // INTERFACE SERIAL
		cfg    Config
		want   string // interface
		err    error
		text   string
	}{
		{"on the second interface", []string{"eth1 A"}, Config{Interfaces: []string{"eth0", "eth1"}}, "eth1", nil, ""},
		{"beside an interface that cannot be used", []string{"eth1 A"}, Config{Interfaces: []string{"eth7", "eth1"}}, "eth1", nil, ""},
		{"one disk at two ports", []string{"eth0 A", "eth1 A"}, Config{Interfaces: []string{"eth0", "eth1"}}, "eth0", nil, ""},
		{"two disks on two segments", []string{"eth0 A", "eth1 B"}, Config{Interfaces: []string{"eth0", "eth1"}}, "", initiator.ErrAmbiguous, "--mac"},
		{"two disks on one segment", []string{"eth0 A", "eth0 B"}, Config{Interfaces: []string{"eth0"}}, "", initiator.ErrAmbiguous, `serial "B"`},
		{"one of them named", []string{"eth0 A", "eth0 B"}, Config{Interfaces: []string{"eth0"}, MAC: frame.MAC{2, 0, 0, 0, 1, 1}}, "eth0", nil, ""},
		{"nobody", nil, Config{Interfaces: []string{"eth0"}, Wait: noWait}, "", initiator.ErrNoAnswer, "on eth0"},
		{"not that one", []string{"eth0 A"}, Config{Interfaces: []string{"eth0"}, MAC: frame.MAC{2, 9}}, "", initiator.ErrNoAnswer, "with MAC 02:09"},
		{"no interface can be used", nil, Config{Interfaces: []string{"eth7"}}, "", nil, "no interface eth7"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld()
			for i, s := range row.served {
				name, serial, _ := strings.Cut(s, " ")
				w.serve(t, name, byte(i), serial)
			}
			row.cfg.Open, row.cfg.Addr = w.open, e11
			d, err := One(t.Context(), row.cfg)
			if row.want == "" {
				if err == nil || row.err != nil && !errors.Is(err, row.err) || !strings.Contains(err.Error(), row.text) {
					t.Errorf("%v; want %v and %q", err, row.err, row.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Interface != row.want || d.Addr != e11 || row.cfg.MAC != (frame.MAC{}) && d.MAC != row.cfg.MAC {
				t.Errorf("found %+v", d)
			}
			if _, err := initiator.Ping(t.Context(), d.Link, d.Target); err != nil {
				t.Errorf("its link: %v", err)
			}
		})
	}
}

func TestSeekingIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := One(ctx, Config{Interfaces: []string{"eth0"}, Open: newWorld().open, Addr: e11}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
