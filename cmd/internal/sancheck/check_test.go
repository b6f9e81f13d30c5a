package sancheck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
)

// A segment is an interface of ours, and the switch that it is plugged into.
type segment struct {
	sw  *linktest.Switch
	mtu int
	up  bool
}

func (s segment) port() link.Link {
	p := s.sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	p.SetMTU(s.mtu)
	p.SetUp(s.up)
	return p
}

// TestDiagnoses: each thing that can be wrong, and the words for it.
func TestDiagnoses(t *testing.T) {
	e11 := frame.Addr{Shelf: 1, Slot: 1}
	for _, row := range []struct {
		name   string
		mtus   []int  // of our interfaces; negative: down
		serve  string // INTERFACE SERIAL, separated by commas
		longer int    // frames longer than that are lost in the switch
		back   bool   // on their way back
		want   []string
		line   string
	}{
		{"nothing", []int{9000}, "0 A", 0, false, nil, "e1.1 1 8704 [eth0] 8704"},
		{"a small MTU here", []int{1500}, "0 A", 0, false, []string{"the MTU of eth0, 1500, carries only 1024"}, "e1.1 1 8704 [eth0] 1024"},
		{"a switch that drops jumbo frames", []int{9000}, "0 A", 1514, false, []string{"only 1024 of 8704 bytes get through"}, "e1.1 1 8704 [eth0] 1024"},
		{"a switch that does so on the way back", []int{9000}, "0 A", 4000, true, []string{"only 3584 of 8704 bytes get through"}, "e1.1 1 8704 [eth0] 3584"},
		{"no frame with data", []int{9000}, "0 A", 548, true, []string{"only 512 of 8704 bytes"}, "e1.1 1 8704 [eth0] 512"},
		{"two disks with one address", []int{9000}, "0 A,0 B", 0, false, []string{"different disks have this address (serial numbers A, B)"}, "e1.1 2 8704 [eth0] 8704"},
		{"two ports here, two there", []int{9000, 9000}, "0 A,1 A", 0, false, nil, "e1.1 2 8704 [eth0 eth1] 8704"},
		{"two ports there, one here", []int{9000}, "0 A,0 A", 0, false, []string{"it has 2 ports and is seen through 1"}, "e1.1 2 8704 [eth0] 8704"},
		{"different MTUs", []int{9000, 4000}, "0 A,1 A", 0, false,
			[]string{"the MTU of eth1, 4000, carries only 3584", "(eth0, eth1) have different MTUs"}, "e1.1 2 8704 [eth0 eth1] 8704"},
		{"down", []int{-9000}, "", 0, false, []string{"eth0 is down"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var segments []segment
			cfg := Config{Wait: 100 * time.Millisecond, Answer: 300 * time.Millisecond}
			for i, mtu := range row.mtus {
				s := segment{linktest.NewSwitch(linktest.Config{MTU: 9000}), max(mtu, -mtu), mtu > 0}
				s.sw.SetScript(func(from, _ frame.MAC, f []byte, drawn linktest.Fate) linktest.Fate {
					theirs := from[4] == 1
					drawn.Lost = row.longer > 0 && len(f) > row.longer && theirs == row.back
					return drawn
				})
				segments = append(segments, s)
				cfg.Interfaces = append(cfg.Interfaces, fmt.Sprint("eth", i))
			}
			for i, served := range strings.FieldsFunc(row.serve, func(r rune) bool { return r == ',' }) {
				sw := segments[served[0]-'0'].sw
				initiatortest.Start(t, sw.Port(frame.MAC{2, 0, 0, 0, 1, byte(i)}), initiatortest.Config{Addr: e11, Serial: served[2:], MaxSectors: 17})
			}
			cfg.Open = func(name string) (link.Link, error) { return named{segments[name[3]-'0'].port(), name}, nil }
			r, err := Check(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			line := ""
			for _, i := range r.Interfaces {
				got = append(got, i.Problems...)
			}
			for _, d := range r.Devices {
				got = append(got, d.Problems...)
				line = fmt.Sprint(d.Addr, " ", d.MACs, " ", d.Payload, " ", d.Local, " ", d.Paths[0].Works)
			}
			if line != row.line || len(got) != len(row.want) || r.Problems() != len(got) {
				t.Fatalf("%q, %q; want %q, %q", line, got, row.line, row.want)
			}
			for i := range got {
				if !strings.Contains(got[i], row.want[i]) {
					t.Errorf("%q, want %q", got[i], row.want[i])
				}
			}
		})
	}
}

// named gives a port of a switch the name of an interface.
type named struct {
	link.Link
	name string
}

func (n named) State() link.State {
	s := n.Link.State()
	s.Name = n.name
	return s
}

func TestInterfaceThatCannotBeUsed(t *testing.T) {
	r, err := Check(t.Context(), Config{
		Interfaces: []string{"eth7"},
		Open:       func(string) (link.Link, error) { return nil, errors.New("no such interface") },
	})
	if err != nil || r.Problems() != 1 || r.Interfaces[0].Problems[0] != "no such interface" {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
