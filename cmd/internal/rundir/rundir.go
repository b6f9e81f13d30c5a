package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aoe/frame"
)

// Reasons why a call failed.
var (
	ErrAttached    = errors.New("attached already by another process")
	ErrNotAttached = errors.New("not attached")
	// ErrRefused wraps what the process that holds the disk gave as reason,
	// such as a mount point.
	ErrRefused = errors.New("refused")
)

// A Dir is the path of a run directory.
type Dir string

// Default is /run/aoe, or what AOE_RUN_DIR names: aoe lab and tests have
// directories of their own.
func Default() Dir {
	if d := os.Getenv("AOE_RUN_DIR"); d != "" {
		return Dir(d)
	}
	return "/run/aoe"
}

func (d Dir) socket(addr frame.Addr) string { return filepath.Join(string(d), addr.String()+".sock") }
func (d Dir) lock(addr frame.Addr) string   { return filepath.Join(string(d), addr.String()+".lock") }

// Log is the file that a process in the background writes its messages to.
func (d Dir) Log(addr frame.Addr) string { return filepath.Join(string(d), addr.String()+".log") }

// limits of a call: what a peer may take of our memory and time.
const (
	maxMessageBytes = 1 << 20
	statusTimeout   = 5 * time.Second
	// detachTimeout is long because everything dirty has to reach the target.
	detachTimeout = 5 * time.Minute
)

type request struct {
	Command string `json:"command"` // "status", "detach" or "forget"
}

type reply struct {
	Error  string  `json:"error,omitempty"`
	Status *Status `json:"status,omitempty"`
}

// List is the addresses of the disks attached on this machine, in order. The
// sockets of processes that died are left out.
func (d Dir) List() ([]frame.Addr, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	var addrs []frame.Addr
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sock")
		if !ok {
			continue
		}
		addr, err := frame.ParseAddr(name)
		if err != nil {
			continue
		}
		conn, err := dial(context.Background(), d.socket(addr))
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("rundir: %w: only the user who attached a disk may ask for it", err)
		}
		if err != nil {
			continue // left behind: nobody listens
		}
		conn.Close()
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, func(a, b frame.Addr) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return addrs, nil
}

// Find is the address of the attached disk that name means: an address, or
// the path of a device or socket.
func (d Dir) Find(ctx context.Context, name string) (frame.Addr, error) {
	addrs, err := d.List()
	if err != nil {
		return frame.Addr{}, err
	}
	if addr, err := frame.ParseAddr(name); err == nil {
		if slices.Contains(addrs, addr) {
			return addr, nil
		}
		return frame.Addr{}, fmt.Errorf("rundir: %s: %w", name, ErrNotAttached)
	}
	path := canonical(name)
	for _, addr := range addrs {
		if s, err := d.Status(ctx, addr); err == nil && canonical(s.Device) == path {
			return addr, nil
		}
	}
	return frame.Addr{}, fmt.Errorf("rundir: %s: %w: want an address (e1.1) or a device that aoe stat lists", name, ErrNotAttached)
}

// canonical is path without symbolic links, as far as it exists.
func canonical(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// Status asks the process that holds the disk how it is.
func (d Dir) Status(ctx context.Context, addr frame.Addr) (Status, error) {
	r, err := d.call(ctx, addr, request{"status"}, statusTimeout)
	if err != nil {
		return Status{}, err
	}
	if r.Status == nil {
		return Status{}, fmt.Errorf("rundir: %s: a reply without a status", addr)
	}
	return *r.Status, nil
}

// Detach asks the process that holds the disk to detach it, and waits until
// that is done and the address free. ErrRefused says that it will not, and why.
func (d Dir) Detach(ctx context.Context, addr frame.Addr) error {
	_, err := d.call(ctx, addr, request{"detach"}, detachTimeout)
	return err
}

// Forget is Detach of a disk that is down: what its target does not take any
// more is given up. A disk in use is refused all the same.
func (d Dir) Forget(ctx context.Context, addr frame.Addr) error {
	_, err := d.call(ctx, addr, request{"forget"}, detachTimeout)
	return err
}

// dial connects to a socket, however long its path is.
func dial(ctx context.Context, path string) (conn net.Conn, err error) {
	err = shorten(path, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

func (d Dir) call(ctx context.Context, addr frame.Addr, q request, timeout time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, d.socket(addr))
	if errors.Is(err, os.ErrNotExist) {
		return reply{}, fmt.Errorf("rundir: %s: %w", addr, ErrNotAttached)
	}
	if err != nil {
		return reply{}, fmt.Errorf("rundir: %s: %w", addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return reply{}, fmt.Errorf("rundir: %s: %w", addr, err)
	}
	var r reply
	if err := json.NewDecoder(io.LimitReader(conn, maxMessageBytes)).Decode(&r); err != nil {
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("its process did not answer: %w", ctx.Err())
		case errors.Is(err, io.EOF):
			err = ErrNotAttached // it was just being detached
		}
		return reply{}, fmt.Errorf("rundir: %s: %w", addr, err)
	}
	if r.Error != "" {
		return reply{}, fmt.Errorf("rundir: %s: %w: %s", addr, ErrRefused, r.Error)
	}
	if q.Command != "status" {
		// The end of the connection: see Server.detach. An error tells as much.
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxMessageBytes))
	}
	return r, nil
}
