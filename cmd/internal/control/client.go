package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
	"aoe/target"
)

// Why there is no answer.
var (
	// ErrNoTarget: none is running, or none of that name.
	ErrNoTarget = errors.New("no such target is running")
	// ErrConflict: something is in the way, which force may overcome.
	ErrConflict = errors.New("refused")
	// ErrAmbiguous: several could be meant.
	ErrAmbiguous = errors.New("several targets are running")
)

// maxReplyBytes is what a reply may take of our memory: thousands of disks.
const maxReplyBytes = 64 << 20

// lookTimeout is how long a target may take to tell its status.
const lookTimeout = 5 * time.Second

// A Client asks one target.
type Client struct {
	// Name of the target.
	Name string
	http *http.Client
}

func newClient(dir rundir.Dir, name string) *Client {
	return &Client{Name: name, http: &http.Client{
		Timeout: writeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dir.DialAt(ctx, socketName(name))
			},
		},
	}}
}

// List is the status of each target that runs, in the order of their names. One
// that hangs is an error.
func List(ctx context.Context, dir rundir.Dir) ([]Status, error) {
	entries, err := os.ReadDir(string(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	var all []Status
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "target-")
		name, sock := strings.CutSuffix(name, ".sock")
		if !ok || !sock || !goodName.MatchString(name) {
			continue
		}
		st, err := newClient(dir, name).Status(ctx)
		if errors.Is(err, ErrNoTarget) {
			continue // it died, or has just ended
		}
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Find is the target that is meant: that of the name or process id which; or, if
// that is empty, the one that serves addr; or the only one.
func Find(ctx context.Context, dir rundir.Dir, which string, addr *frame.Addr) (*Client, error) {
	all, err := List(ctx, dir)
	if err != nil {
		return nil, err
	}
	var names, fit []string
	for _, st := range all {
		names = append(names, st.Name)
		serves := addr != nil && slices.ContainsFunc(st.Disks, func(e inventory.Entry) bool { return e.Addr == *addr })
		if which == st.Name || which == strconv.Itoa(st.PID) || which == "" && serves {
			fit = append(fit, st.Name)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%w: start one with aoe serve", ErrNoTarget)
	case len(fit) == 1:
		return newClient(dir, fit[0]), nil
	case which != "":
		return nil, fmt.Errorf("%s: %w: there are %s", which, ErrNoTarget, strings.Join(names, ", "))
	case len(fit) == 0 && len(all) == 1:
		return newClient(dir, names[0]), nil
	case len(fit) == 0 && addr != nil:
		return nil, fmt.Errorf("none of %s serves %s: %w: name one with --target", strings.Join(names, ", "), addr, ErrAmbiguous)
	}
	return nil, fmt.Errorf("%w: name one of %s with --target", ErrAmbiguous, strings.Join(names, ", "))
}

// Status asks how the target is.
func (c *Client) Status(ctx context.Context) (st Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err = c.call(ctx, http.MethodGet, "/status", nil, &st)
	return st, err
}

// Settings are what can be edited of a disk, as it is now.
func (c *Client) Settings(ctx context.Context, a frame.Addr) (Settings, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return Settings{}, err
	}
	for _, d := range st.Stats.Disks {
		if d.Addr == a {
			return settings(d.Settings), nil
		}
	}
	return Settings{}, fmt.Errorf("%s: %w", a, target.ErrNoDisk)
}

// Add serves a disk.
func (c *Client) Add(ctx context.Context, d conf.Disk) error {
	return c.post(ctx, "/add", d, &nothing{})
}

// Remove ends a disk, and returns when its store is closed.
func (c *Client) Remove(ctx context.Context, a frame.Addr) error {
	return c.post(ctx, "/remove", onDisk{a}, &nothing{})
}

// Resize serves so many bytes of a disk, with 0 all there is.
func (c *Client) Resize(ctx context.Context, a frame.Addr, length int64) error {
	return c.post(ctx, "/resize", resize{a, length}, &nothing{})
}

// Mask edits the mask by words that ParseMask reads.
func (c *Client) Mask(ctx context.Context, a frame.Addr, edits []string) (set Settings, err error) {
	err = c.post(ctx, "/mask", maskEdit{a, edits}, &set)
	return set, err
}

// Reserve sets or force sets the reserve list, and with no MACs releases the disk.
func (c *Client) Reserve(ctx context.Context, a frame.Addr, macs []frame.MAC, force bool) (set Settings, err error) {
	err = c.post(ctx, "/reserve", setReserve{a, macs, force}, &set)
	return set, err
}

// Config sets or force sets the config string.
func (c *Client) Config(ctx context.Context, a frame.Addr, text []byte, force bool) (set Settings, err error) {
	err = c.post(ctx, "/config", setConfig{a, text, force}, &set)
	return set, err
}

// Reload has the target read its file again.
func (c *Client) Reload(ctx context.Context) (n inventory.Counts, err error) {
	err = c.post(ctx, "/reload", nothing{}, &n)
	return n, err
}

func (c *Client) post(ctx context.Context, path string, q, a any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return c.call(ctx, http.MethodPost, path, body, a)
}

// call asks, and reads the answer into a.
func (c *Client) call(ctx context.Context, method, path string, body []byte, a any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://target"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("target %s: %w", c.Name, unreachable(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return fmt.Errorf("target %s: %w", c.Name, err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, a); err != nil {
			return fmt.Errorf("target %s answers what is not understood: %w: is it of another version?", c.Name, err)
		}
		return nil
	}
	var f failure
	if err := json.Unmarshal(text, &f); err != nil || f.Error == "" {
		return fmt.Errorf("target %s: %s", c.Name, resp.Status)
	}
	if resp.StatusCode == http.StatusConflict {
		return fmt.Errorf("%w: %s", ErrConflict, f.Error)
	}
	return errors.New(f.Error)
}
