package lab

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/bpf"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
)

// An attack is a flood at each of the two hosts, and a socket on the
// initiator's that takes foreign frames and is never read.
type attack struct {
	floods map[string]*flood // by the host that they go to
	closer []io.Closer

	Sent map[string]map[string]uint64 // what end counted
}

// Bounds of an attack.
const (
	mostFlood   = 1_000_000 // frames at each host, whatever the rate and the time
	unreadBytes = 16 << 20
)

// startAttack sends rate frames a second to each host, from the other one: from
// there a frame can have any sender.
func (l *Lab) startAttack(rate int) (_ *attack, err error) {
	a := &attack{floods: map[string]*flood{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.end())
		}
	}()
	var unread io.Closer
	err = l.pair.A.Do(func() (err error) {
		unread, err = OpenUnread(l.pair.A.Interface, unreadBytes)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.closer = append(a.closer, unread)
	for _, at := range []struct {
		name  string
		from  *veth.Host
		kinds []forgery
	}{
		{"initiator", l.pair.B, againstInitiator()},
		{"target", l.pair.A, againstTarget()},
	} {
		port, err := on(at.from, openSendOnly)
		if err != nil {
			return nil, err
		}
		a.closer = append(a.closer, port)
		a.floods[at.name] = startFlood(context.Background(), floodConfig{
			link: port, kinds: at.kinds, rate: rate, most: mostFlood,
			forger: forger{
				rng: newRand(l.cfg.Seed, "flood at the "+at.name), addr: Addr,
				initiator: l.pair.A.MAC, target: l.pair.B.MAC,
				payload: min(frame.SectorsPerFrame(l.cfg.MTU), 16) * frame.SectorSize,
			},
		})
	}
	return a, nil
}

// openSendOnly opens a link that receives nothing, so that who floods does not
// compete with who is flooded for what comes back.
func openSendOnly(h *veth.Host) (link.Link, error) {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l, err := ring.Open(ring.Config{Interface: h.Interface, Filter: nothing})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// end stops the floods and frees the frames that nobody read.
func (a *attack) end() error {
	var errs []error
	a.Sent = map[string]map[string]uint64{}
	for name, f := range a.floods {
		sent, err := f.stop()
		a.Sent[name] = sent
		errs = append(errs, err)
	}
	for _, c := range a.closer {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
