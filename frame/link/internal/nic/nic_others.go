//go:build !linux

package nic

import (
	"net"
	"time"
)

// An Observer watches one interface by name.
type Observer struct {
	name   string
	looked time.Time
}

// Open finds the interface.
func Open(name string) (*Observer, Info, error) {
	ifi, err := find(name)
	if err != nil {
		return nil, Info{}, err
	}
	return &Observer{name: name, looked: time.Now()}, infoOf(ifi), nil
}

// Close ends the observation.
func (o *Observer) Close() error { return nil }

// Changed is true once a second: it takes looking to know.
func (o *Observer) Changed() bool { return time.Since(o.looked) >= time.Second }

// Look looks at the interface. An Info that does not exist is no error.
func (o *Observer) Look() (Info, error) {
	o.looked = time.Now()
	ifi, err := net.InterfaceByName(o.name)
	if err != nil || len(ifi.HardwareAddr) != len(Info{}.MAC) {
		return Info{}, nil
	}
	return infoOf(ifi), nil
}
