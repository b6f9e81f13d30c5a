package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// listenUnix listens on a unix socket at path. A socket that nobody listens on
// is what a dead process left, and is replaced; anything else is not.
func listenUnix(path string) (*net.UnixListener, error) {
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("attach: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("attach: %s is there, and not a socket: choose another path or remove it", path)
	default:
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return nil, fmt.Errorf("attach: somebody listens on %s already: detach there first, or choose another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("attach: %w", err)
		}
	}
	lc := listenConfig()
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return l.(*net.UnixListener), nil
}
