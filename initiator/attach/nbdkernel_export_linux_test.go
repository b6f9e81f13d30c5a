package attach

import (
	"net"
	"os"
)

// ServeNBDPair serves a connection as the kernel's client gets one, whose end it
// returns; company tells whether the disk's loop does it. done is closed when all is
// over.
func ServeNBDPair(cfg NBDKernelConfig) (conn *net.UnixConn, company bool, done <-chan struct{}, err error) {
	info, err := cfg.validate()
	if err != nil {
		return nil, false, nil, err
	}
	d := &nbdKernelDevice{cfg: cfg, info: info, size: cfg.Disk.Size(), done: make(chan struct{})}
	t, theirs, err := d.pair()
	if err != nil {
		return nil, false, nil, err
	}
	f := os.NewFile(uintptr(theirs), "socketpair")
	c, err := net.FileConn(f)
	if err != nil {
		return nil, false, nil, err
	}
	if err := f.Close(); err != nil {
		return nil, false, nil, err
	}
	d.serve(t)
	ended := make(chan struct{})
	go func() {
		d.served.Wait()
		close(ended)
	}()
	return c.(*net.UnixConn), t.company != nil, ended, nil
}
