package rundir

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
)

// The control sockets of targets lie beside those of disks.

// ErrTaken means that another process listens under the name.
var ErrTaken = errors.New("taken by another process")

// A Socket is a control socket under a name of its own. It is in nobody's way
// when its process has died.
type Socket struct {
	net.Listener
	path  string
	claim io.Closer
}

// ListenAt listens at name in the directory, which it makes if it is missing.
// Only the owner of the process may connect.
func (d Dir) ListenAt(name string) (*Socket, error) {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(string(d), name)
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if errors.Is(err, ErrAttached) {
			err = ErrTaken
		}
		return nil, err
	}
	l, err := listenPrivate(path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Socket{l, path, f}, nil
}

// Close takes the name away. The lock file stays, as with disks.
func (s *Socket) Close() error {
	err := os.Remove(s.path) // the name goes first: from here on nobody finds us
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if e := s.Listener.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, s.claim.Close())
}

// DialAt connects to the socket of that name.
func (d Dir) DialAt(ctx context.Context, name string) (net.Conn, error) {
	return dial(ctx, filepath.Join(string(d), name))
}
