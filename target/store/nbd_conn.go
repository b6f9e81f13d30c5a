package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// How a connection is made.
const (
	connectTimeout = 10 * time.Second // to connect and negotiate
	firstBackOff   = 50 * time.Millisecond
	lastBackOff    = 2 * time.Second
	expiryTick     = 100 * time.Millisecond

	// silence is how long a server may leave what was sent unacknowledged, or
	// take no more of it: longer than any disk should be stuck, because what
	// the server has in hand then it may still carry out.
	silence = 30 * time.Second
)

// run keeps a connection until the store is closed.
func (n *NBD) run(conn net.Conn) {
	defer close(n.ended)
	again := time.Duration(0) // before the next connection
	for {
		answers := n.answers()
		err := n.talk(conn)
		changing := n.broke(err)
		// A server that lets us in only to break off again, as one does that is
		// shutting down, or locked out of what it serves, is given time.
		if n.answers() != answers {
			again = 0
		} else {
			again = min(max(2*again, firstBackOff), lastBackOff)
		}
		// A server that closed the connection, or is gone, has no more of it
		// in hand. Of one that cannot be reached, or that was left, nobody
		// knows: a write that it carries out late must not undo a later one.
		wait := again
		if changing && !closedByServer(err) {
			wait = max(wait, n.cfg.Fence)
		}
		var e nbdExport
		if conn, e = n.reconnect(wait); conn == nil {
			n.abandon()
			return
		}
		n.reconnected(e)
	}
}

// closedByServer reports whether err is the end of a connection that the server
// made, by closing it or ending.
func closedByServer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, nbdESHUTDOWN) || resetByPeer(err)
}

// reconnect waits, and then tries until there is a connection. It returns nil
// when the store is closed.
func (n *NBD) reconnect(wait time.Duration) (net.Conn, nbdExport) {
	type attempt struct {
		conn net.Conn
		e    nbdExport
		err  error
	}
	tick := time.NewTicker(expiryTick)
	defer tick.Stop()
	pause := time.NewTimer(wait)
	defer pause.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	attempts := make(chan attempt, 1)
	dialing, backOff := false, firstBackOff
	for {
		select {
		case <-n.closing:
			if cancel(); dialing {
				if a := <-attempts; a.err == nil {
					a.conn.Close()
				}
			}
			return nil, nbdExport{}
		case <-tick.C:
			n.expire()
		case <-pause.C:
			dialing = true
			go func() { // ends at connectTimeout at the latest
				ctx, cancel := context.WithTimeout(ctx, connectTimeout)
				defer cancel()
				conn, e, err := n.connect(ctx)
				attempts <- attempt{conn, e, err}
			}()
		case a := <-attempts:
			if dialing = false; a.err == nil {
				return a.conn, a.e
			}
			n.away(a.err)
			pause.Reset(backOff)
			backOff = min(2*backOff, lastBackOff)
		}
	}
}

// connect makes a connection that is ready for requests.
func (n *NBD) connect(ctx context.Context) (net.Conn, nbdExport, error) {
	a, err := parseNBD(n.cfg.URI)
	if err != nil {
		return nil, nbdExport{}, err
	}
	conn, e, err := n.negotiate(ctx, a.export)
	if errors.Is(err, errNBDBlocks) && n.blocks {
		n.blocks = false
		conn, e, err = n.negotiate(ctx, a.export)
	}
	switch {
	case err != nil:
		return nil, e, err
	case e.can(nbdReadOnly) && !n.cfg.ReadOnly:
		err = errors.New("the export is read-only: serve it read-only")
	case e.flags&n.use != n.use || e.payload() < n.maximum:
		err = errNBDLess
	default:
		return conn, e, nil
	}
	conn.Close()
	return nil, e, err
}

func (n *NBD) negotiate(ctx context.Context, export string) (net.Conn, nbdExport, error) {
	conn, err := n.cfg.Dial(ctx)
	if err != nil {
		return nil, nbdExport{}, fmt.Errorf("%w: is an NBD server running there?", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	e, err := negotiateNBD(conn, export, n.blocks)
	if !stop() && err == nil {
		err = context.Cause(ctx) // and conn is closed
	}
	if err != nil {
		conn.Close()
		return nil, e, err
	}
	return conn, e, nil
}

func dialNBD(ctx context.Context, a nbdAddress) (net.Conn, error) {
	// A server that died with its machine says nothing: find out by asking.
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	conn, err := d.DialContext(ctx, a.network, a.address)
	if err != nil {
		return nil, err
	}
	if t, ok := conn.(*net.TCPConn); ok {
		if err := giveUpAfter(t, silence); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// nbdBatch is how many requests go out with one system call.
const nbdBatch = 16

// An nbdConn is one connection in its transmission phase.
type nbdConn struct {
	n    *NBD
	conn net.Conn
	stop chan struct{} // closed: no more is to be sent

	// Of the sender.
	batch   []*nbdSlot
	headers []byte
	pieces  [2 * nbdBatch][]byte
	out     net.Buffers
	// Of the receiver.
	in    *bufio.Reader
	reply [nbdReplyLen]byte
}

// talk sends requests and receives replies until the connection breaks or the
// store is closed, and returns why it broke. Nothing uses the requests' data
// afterwards.
func (n *NBD) talk(conn net.Conn) error {
	c := &nbdConn{
		n: n, conn: conn, stop: make(chan struct{}),
		batch:   make([]*nbdSlot, 0, nbdBatch),
		headers: make([]byte, 0, nbdBatch*nbdRequestLen),
		in:      bufio.NewReaderSize(conn, 64<<10),
	}
	failed := make(chan error, 2)
	var sender, receiver sync.WaitGroup
	sender.Go(func() { failed <- c.send() })
	receiver.Go(func() { failed <- c.receive() })
	var err error
	select {
	case err = <-failed:
	case <-n.closing:
	}
	close(c.stop)
	if err == nil {
		// "The client MUST NOT send NBD_CMD_DISC while there are other requests
		// outstanding" ("Terminating the transmission phase"), and nobody may
		// have any when Close is called.
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		sender.Wait()
		conn.Write(appendNBDRequest(nil, 0, nbdCmdDisconnect, 0, 0, 0)) // else it will notice
	}
	conn.Close()
	sender.Wait()
	receiver.Wait()
	return err
}

// send sends what is queued, several requests at a time.
func (c *nbdConn) send() error {
	for {
		c.batch = c.n.take(c.batch[:0])
		if len(c.batch) > 0 {
			if err := c.sendBatch(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-c.n.wake:
		case <-c.stop:
			return nil
		}
	}
}

func (c *nbdConn) sendBatch() error {
	c.headers, c.out = c.headers[:0], c.pieces[:0]
	for _, s := range c.batch {
		at := len(c.headers)
		c.headers = appendNBDRequest(c.headers, s.flags, s.command, s.cookie(), uint64(s.off), s.length)
		c.out = append(c.out, c.headers[at:])
		if s.command == nbdCmdWrite {
			c.out = append(c.out, s.data)
		}
	}
	_, err := c.out.WriteTo(c.conn)
	return err
}

// receive completes what is answered.
func (c *nbdConn) receive() error {
	for {
		if _, err := io.ReadFull(c.in, c.reply[:]); err != nil {
			return err
		}
		cookie, e, err := parseNBDReply(c.reply[:])
		if err != nil {
			return err
		}
		s, err := c.n.find(cookie)
		switch {
		case err != nil:
			return err
		case e == nbdESHUTDOWN:
			// "The server is in the process of being shut down": it has
			// not been done, and there may be another server soon.
			return e
		case e != 0:
			c.n.complete(s, e)
			continue
		}
		if s.command == nbdCmdRead {
			if _, err := io.ReadFull(c.in, s.data); err != nil {
				return err
			}
		}
		c.n.complete(s, nil)
	}
}
