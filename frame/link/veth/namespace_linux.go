package veth

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A namespace is an anonymous network namespace, held by a file descriptor and
// nothing else.
type namespace struct {
	ns netns.NsHandle
	nl *netlink.Handle // speaks rtnetlink inside ns
}

// newNamespace makes one, with IPv6 off and the loopback interface up.
func newNamespace() (n namespace, err error) {
	n.ns = netns.None()
	err = onThread(func() (err error) {
		if n.ns, err = netns.New(); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return disableIPv6()
	})
	if err == nil {
		n.nl, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = n.nl.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}})
	}
	if err != nil {
		n.close()
		return namespace{}, err
	}
	return n, nil
}

func (n *namespace) close() {
	if n.nl != nil {
		n.nl.Close()
		n.nl = nil
	}
	if n.ns.IsOpen() {
		n.ns.Close() // an error of close(2) here would leave nothing to do
	}
}

// disableIPv6 keeps router solicitations, neighbour discovery and multicast
// listener reports off the wire. /proc/sys/net shows the namespace of the
// calling thread. "default" is what interfaces made later start with.
func disableIPv6() error {
	for _, scope := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0o644)
		if errors.Is(err, os.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("switch IPv6 off: %w", err)
		}
	}
	return nil
}

// Do runs f on an operating system thread that is inside the host's namespace,
// waits for it and returns its error. f may call t.Fatal: the caller's
// goroutine then ends too. Goroutines that f starts are not inside.
func (n *namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("veth: enter the namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which f may move to another network
// namespace. Afterwards the thread returns to where it was; one that cannot
// return dies, because the goroutine that is locked to it ends.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done) // without a value, when f called runtime.Goexit
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("veth: current namespace: %w", err)
			return
		}
		defer func() {
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
			home.Close()
		}()
		done <- f()
	}()
	err, returned := <-done
	if !returned {
		runtime.Goexit()
	}
	<-done // until the thread is home again
	return err
}

// A Cmd is an [exec.Cmd] whose process lives in a host's namespace.
type Cmd struct {
	*exec.Cmd
	host *namespace
}

// Command prepares the start of a program inside the host's namespace. Use the
// methods of Cmd itself: those of the exec.Cmd in it start the program outside.
func (n *namespace) Command(name string, args ...string) *Cmd {
	return &Cmd{exec.Command(name, args...), n}
}

// Start is [exec.Cmd.Start] inside the namespace: a process inherits that of
// the thread that forks it.
func (c *Cmd) Start() error { return c.host.Do(c.Cmd.Start) }

// Run is [exec.Cmd.Run] inside the namespace.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is [exec.Cmd.Output] inside the namespace.
func (c *Cmd) Output() (out []byte, err error) {
	err = c.host.Do(func() (err error) {
		out, err = c.Cmd.Output()
		return err
	})
	return out, err
}

// CombinedOutput is [exec.Cmd.CombinedOutput] inside the namespace.
func (c *Cmd) CombinedOutput() (out []byte, err error) {
	err = c.host.Do(func() (err error) {
		out, err = c.Cmd.CombinedOutput()
		return err
	})
	return out, err
}

// carrierTimeout bounds the wait for a carrier, which takes milliseconds. The
// kernel delays news of some links by up to a second.
const carrierTimeout = 10 * time.Second

// waitCarrier waits until the interface can carry frames.
func (n *namespace) waitCarrier(name string) error {
	// Subscribe first and look afterwards: a change in between is not missed.
	news, err := nl.SubscribeAt(n.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	defer news.Close()
	for end := time.Now().Add(carrierTimeout); ; {
		link, err := n.nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("%s has no carrier after %v, it is %v", name, carrierTimeout, link.Attrs().OperState)
		}
		tv := unix.NsecToTimeval(left.Nanoseconds())
		if err := news.SetReceiveTimeout(&tv); err != nil {
			return fmt.Errorf("wait for the carrier of %s: %w", name, err)
		}
		// What the news says does not matter, and neither does news lost for
		// want of room (ENOBUFS): we look again.
		if _, _, err := news.Receive(); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("wait for the carrier of %s: %w", name, err)
		}
	}
}
