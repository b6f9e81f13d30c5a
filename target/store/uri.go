package store

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// IsURI reports whether Open takes path for a URI and not for a file: nbd:,
// nbd+unix: and mem: are. Who has a file of such a name writes ./ in front.
func IsURI(path string) bool {
	switch scheme, _, ok := strings.Cut(path, ":"); {
	case !ok:
		return false
	default:
		return scheme == "mem" || scheme == "nbd" || scheme == "nbds" || strings.HasPrefix(scheme, "nbd+") || strings.HasPrefix(scheme, "nbds+")
	}
}

// openURI opens what a URI names.
func openURI(cfg Config) (Store, error) {
	if size, ok := strings.CutPrefix(cfg.Path, "mem:"); ok {
		n, err := parseSize(size)
		switch {
		case err != nil:
			return nil, fmt.Errorf("store: %s: %w", cfg.Path, err)
		case cfg.ReadOnly:
			return nil, fmt.Errorf("store: %s: memory that only reads has nothing to read", cfg.Path)
		case cfg.Offset != 0 || cfg.Length != 0:
			return nil, fmt.Errorf("store: %s: memory has no windows: say how large it is", cfg.Path)
		}
		return Memory(n), nil
	}
	if cfg.Direct {
		return nil, fmt.Errorf("store: %s: direct is for files and devices; an NBD server decides itself: qemu-nbd --cache=none", cfg.Path)
	}
	return OpenNBD(NBDConfig{URI: cfg.Path, Offset: cfg.Offset, Length: cfg.Length, ReadOnly: cfg.ReadOnly, Durable: cfg.Durable})
}

// parseSize reads a number of bytes with K, M, G or T for powers of 1024, of at
// least a sector.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTkmgt")
	unit := int64(1)
	if len(s)-len(digits) > 1 {
		return 0, fmt.Errorf("%q is no size: want one like 64M", s)
	}
	if len(digits) < len(s) {
		unit = 1 << (10 * (1 + strings.Index("KMGT", strings.ToUpper(s[len(digits):]))))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size: want one like 64M", s)
	}
	if n *= unit; n < SectorSize {
		return 0, fmt.Errorf("%d bytes are less than a sector of %d", n, SectorSize)
	}
	return n, nil
}

// An nbdAddress is where an export is.
type nbdAddress struct {
	network string // "tcp" or "unix"
	address string
	export  string
}

// parseNBD reads a URI as doc/uri.md of the NBD project has it:
// nbd://host[:port]/export and nbd+unix:///export?socket=path.
func parseNBD(uri string) (nbdAddress, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nbdAddress{}, err
	}
	a := nbdAddress{export: strings.TrimPrefix(u.Path, "/")}
	switch {
	case strings.HasPrefix(u.Scheme, "nbds"):
		return a, fmt.Errorf("%s: TLS is not spoken here: use nbd+unix: with a tunnel's socket, or nbd: on a private network", uri)
	case u.Opaque != "" || u.User != nil || u.Fragment != "":
		err = errors.New("want nbd://host[:port]/export or nbd+unix:///export?socket=path")
	case len(a.export) > nbdMaxName:
		err = fmt.Errorf("an export's name of %d bytes: at most %d", len(a.export), nbdMaxName)
	case u.Scheme == "nbd":
		a.network = "tcp"
		port := u.Port()
		if port == "" {
			port = "10809" // "the IANA assigned port"
		}
		a.address = net.JoinHostPort(u.Hostname(), port)
		if u.Hostname() == "" {
			err = errors.New("no host: want nbd://host[:port]/export")
		} else if u.RawQuery != "" {
			err = errors.New("a query has no meaning here")
		}
	case u.Scheme == "nbd+unix":
		a.network, a.address = "unix", u.Query().Get("socket")
		if a.address == "" || u.Host != "" {
			err = errors.New("want nbd+unix:///export?socket=path: three slashes, and the socket")
		}
	default:
		err = errors.New("only nbd: and nbd+unix: are spoken here")
	}
	if err != nil {
		return a, fmt.Errorf("%s: %w", uri, err)
	}
	return a, nil
}

// identity is what the address says of the store, for Info. A unix socket and
// the loopback mean another server on each machine: they identify nothing.
func (a nbdAddress) identity() string {
	if a.network == "unix" {
		return ""
	}
	host, _, err := net.SplitHostPort(a.address)
	ip := net.ParseIP(host)
	if err != nil || host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return ""
	}
	return "nbd " + strings.ToLower(a.address) + "/" + a.export
}
