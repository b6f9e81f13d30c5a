//go:build !linux

package guest

import (
	"fmt"
	"io"

	"aoe/frame/link"
	"aoe/frame/link/veth"
)

// errLinuxOnly is what Missing says before anything here is called.
var errLinuxOnly = fmt.Errorf("guest: %w: it runs on linux/amd64 only", ErrMissing)

func lockDir(string) (io.Closer, error) { return nil, errLinuxOnly }

const (
	targetHost = iota
	floodHost
	guestHost
)

type network struct{ *veth.Bridge }

func newNetwork(int, int) (network, error)           { return network{}, errLinuxOnly }
func (network) open(int) (link.Link, error)          { return nil, errLinuxOnly }
func (network) setTargetUp(int, bool) error          { return errLinuxOnly }
func (network) capture(func([]byte)) (func(), error) { return nil, errLinuxOnly }
