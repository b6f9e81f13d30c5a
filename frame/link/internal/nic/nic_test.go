package nic

import (
	"testing"

	"aoe/frame"
	"aoe/frame/link"
)

func TestTheNextState(t *testing.T) {
	mac := frame.MAC{2, 0, 0, 0, 0, 1}
	old := link.State{Name: "eth0", MAC: mac, MTU: 1500, Up: true, Generation: 7}
	down := link.State{Name: "eth0", MAC: mac, MTU: 1500, Generation: 8}
	info := Info{Index: 3, Name: "eth0", MAC: mac, MTU: 1500, Up: true}
	for _, row := range []struct {
		name     string
		from     link.State
		change   func(*Info)
		replaced bool
		want     link.State
		wentDown bool
	}{
		{"nothing", old, func(*Info) {}, false, old, false},
		{"down", old, func(i *Info) { i.Up = false }, false, down, true},
		{"still down", down, func(i *Info) { i.Up = false }, false, down, false},
		{"up", down, func(*Info) {}, false, link.State{Name: "eth0", MAC: mac, MTU: 1500, Up: true, Generation: 9}, false},
		{"gone", old, func(i *Info) { *i = Info{} }, false, down, true},
		{"still gone", down, func(i *Info) { *i = Info{} }, false, down, false},
		{"MTU", old, func(i *Info) { i.MTU = 9000 }, false, link.State{Name: "eth0", MAC: mac, MTU: 9000, Up: true, Generation: 8}, false},
		{"renamed", old, func(i *Info) { i.Name = "lan0" }, false, link.State{Name: "lan0", MAC: mac, MTU: 1500, Up: true, Generation: 8}, false},
		{"replaced by its like", old, func(*Info) {}, true, link.State{Name: "eth0", MAC: mac, MTU: 1500, Up: true, Generation: 8}, true},
		{"replaced after it was seen to go", down, func(*Info) {}, true, link.State{Name: "eth0", MAC: mac, MTU: 1500, Up: true, Generation: 9}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := info
			row.change(&i)
			if got, wentDown := i.State(row.from, row.replaced); got != row.want || wentDown != row.wentDown {
				t.Errorf("state %+v, went down %v; want %+v, %v", got, wentDown, row.want, row.wentDown)
			}
		})
	}
}
