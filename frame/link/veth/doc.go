// Package veth makes hosts for tests and labs: network namespaces of their own,
// joined by a virtual Ethernet cable or by a bridge. Linux only; elsewhere New
// fails with [errors.ErrUnsupported].
//
// # Usage
//
//	pair, err := veth.New(veth.Config{MTU: 9000})
//	defer pair.Close()
//	err = pair.A.Do(func() error {
//		l, err = open.Open(pair.A.Interface)
//		return err
//	})
//
// A socket belongs to the namespace it was opened in, so a link opened inside
// Do can be used from any goroutine afterwards, and one process can be both
// ends of the cable. Programs are started inside with [Host.Command].
//
// # Nothing is left behind
//
// The namespaces have no name and no mount: they are held by file descriptors
// of this process alone. When it ends, however it ends, the kernel closes them,
// and with a namespace go its interfaces.
//
// # A quiet wire
//
// IPv6 is off in these namespaces and the bridge neither speaks a spanning tree
// nor asks for multicast groups, so that every frame on the wire was sent by
// the test.
//
// # Concurrency
//
// The methods of a Pair, a Bridge and a Host may be called by any number of
// goroutines, except Close, which is the last call, and Recreate, which no
// other call on the same Pair may overlap.
//
// Tests use vethtest.New, which skips where there is no permission.
package veth
