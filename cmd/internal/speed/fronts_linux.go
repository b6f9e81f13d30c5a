package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"aoe/frame/link/veth"
)

// readyTime is how long a server may take until it is ready.
const readyTime = 30 * time.Second

// Addresses of the two ends of a cable (RFC 5737, "TEST-NET-1").
const nearIP, farIP = "192.0.2.1", "192.0.2.2"

// serveNBD starts nbdkit at the far end of the cable, over TCP, for an image of
// its own.
func (b *bed) serveNBD(name string, pair *veth.Pair) error {
	for host, ip := range map[*veth.Host]string{pair.A: nearIP, pair.B: farIP} {
		if out, err := host.Command("ip", "address", "add", ip+"/24", "dev", host.Interface).CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w (apt-get install iproute2)\n%s", err, out)
		}
	}
	return b.startNBD(name, pair, "nbd://"+farIP+"/", "--ipaddr", farIP)
}

// serveNBDHere starts nbdkit on a Unix socket, for an image of its own: what its
// clients get without any network.
func (b *bed) serveNBDHere(name string, pair *veth.Pair) error {
	socket := filepath.Join(b.dir, name+".sock")
	return b.startNBD(name, pair, "nbd+unix:///?socket="+socket, "--unix", socket)
}

// startNBD starts nbdkit at the far end of the cable. Clients find it at the URI.
func (b *bed) startNBD(name string, pair *veth.Pair, uri string, flags ...string) error {
	image, err := b.image(b.dir, name)
	if err != nil {
		return err
	}
	pid := filepath.Join(b.dir, name+".pid")
	command := slices.Concat([]string{"nbdkit", "--foreground", "--pidfile", pid}, flags, []string{"file", image})
	if err := b.startTarget(name, pair, command); err != nil {
		return err
	}
	p := b.processes[name]
	p.at = uri
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	// "Write PIDFILE (containing the process ID of the server) after nbdkit
	// becomes ready to accept connections" (nbdkit(1)).
	return appears(ctx, p, pid)
}

// attachNBD starts `aoe attach --via nbd` at the near end of a target's cable.
func (b *bed) attachNBD(name, target string) error {
	pair, socket := b.processes[target].pair, filepath.Join(b.dir, name+".sock")
	p, err := startReady(pair, func(start func() error) error {
		return pair.A.Do(start)
	}, []string{"env", b.runDir(), b.binary, "attach", "--via", "nbd", "--socket", socket, "-i", pair.A.Interface, diskAddr})
	if err != nil {
		return err
	}
	p.at = "nbd+unix:///?socket=" + socket
	b.keep(name, p)
	return nil
}

// attachFUSE makes a block device of a target's disk, in a process at the near
// end of its cable; or of memory, if target is empty.
func (b *bed) attachFUSE(name, target string) error {
	role := []string{fuseRole, filepath.Join(b.dir, name), strconv.FormatInt(b.cfg.imageBytes, 10)}
	pair := b.processes[target].cable()
	if pair == nil {
		var err error
		if pair, err = b.cable(); err != nil {
			return err
		}
	} else {
		role = append(role, pair.A.Interface)
	}
	command, err := roleCommand(role...)
	if err != nil {
		return err
	}
	p, err := startReady(pair, func(start func() error) error { return pair.A.Do(start) }, command)
	if err != nil {
		return err
	}
	b.keep(name, p)
	return nil
}

// roleCommand starts this program in another role.
func roleCommand(role ...string) ([]string, error) {
	self, err := os.Executable()
	return append([]string{self, roleWord}, role...), err
}
