package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"golang.org/x/net/netutil"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/rundir"
	"aoe/target"
)

// What a client may take of our time and memory.
const (
	maxBodyBytes   = 1 << 20
	maxConnections = 16
	readTimeout    = 10 * time.Second
	// busyTimeout is how long a disk that is removed may take for its last
	// sync until the client is told to look elsewhere.
	busyTimeout  = time.Minute
	writeTimeout = busyTimeout + 10*time.Second
)

// A Target is what the socket is of.
type Target struct {
	// Name to listen under. Empty is the first free of target, target2, ...
	Name      string
	Server    *target.Server
	Inventory *inventory.Inventory
	// Config is the path of the file, empty if there is none.
	Config string
	// Reload reads the file again and applies it.
	Reload func(context.Context) (inventory.Counts, error)
}

// A Server answers on the socket.
type Server struct {
	// Name is the one it got.
	Name string

	target Target
	since  time.Time
	http   *http.Server
	served chan error
}

func socketName(name string) string { return "target-" + name + ".sock" }

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// mostNames are tried for a target that has none.
const mostNames = 1000

// Listen answers for t from now on, until Close. A name that is taken is refused
// with an error wrapping rundir.ErrTaken.
func Listen(dir rundir.Dir, t Target) (*Server, error) {
	sock, name, err := claim(dir, t.Name)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, target: t, since: time.Now(), served: make(chan error, 1)}
	s.http = &http.Server{
		Handler: s.routes(), ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: readTimeout,
		MaxHeaderBytes: 1 << 14,
	}
	go func() { s.served <- s.http.Serve(netutil.LimitListener(sock, maxConnections)) }() // ends with Close
	return s, nil
}

// claim listens under the name, or under the first that is free.
func claim(dir rundir.Dir, name string) (*rundir.Socket, string, error) {
	if name != "" {
		if !goodName.MatchString(name) {
			return nil, "", fmt.Errorf("control: %q is no name: want letters, digits, and dots, dashes or underscores inside", name)
		}
		sock, err := dir.ListenAt(socketName(name))
		if errors.Is(err, rundir.ErrTaken) {
			err = fmt.Errorf("a target named %s is running: %w: give this one another --name", name, err)
		}
		if err != nil {
			return nil, "", fmt.Errorf("control: %w", err)
		}
		return sock, name, nil
	}
	for i := 1; ; i++ {
		name := "target"
		if i > 1 {
			name = fmt.Sprintf("target%d", i)
		}
		sock, err := dir.ListenAt(socketName(name))
		if err == nil {
			return sock, name, nil
		}
		if i == mostNames || !errors.Is(err, rundir.ErrTaken) {
			return nil, "", fmt.Errorf("control: %w", err)
		}
	}
}

// Close ends what is being answered: what it waits for is being closed too.
func (s *Server) Close() error {
	err := s.http.Close()
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.status()) })
	mux.Handle("POST /add", handler(s.add))
	mux.Handle("POST /remove", handler(s.remove))
	mux.Handle("POST /resize", handler(s.resize))
	mux.Handle("POST /mask", handler(s.mask))
	mux.Handle("POST /reserve", handler(s.reserve))
	mux.Handle("POST /config", handler(s.config))
	mux.Handle("POST /reload", handler(s.reload))
	return mux
}

// handler reads a Q and answers with what f makes of it.
func handler[Q, A any](f func(context.Context, Q) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		dec.DisallowUnknownFields()
		err := dec.Decode(&q)
		if err == nil {
			if _, e := dec.Token(); e != io.EOF {
				err = errors.New("more than one JSON object")
			}
		}
		if err != nil {
			reply(w, http.StatusBadRequest, failure{"not the JSON of this request: " + err.Error()})
			return
		}
		// What is begun is finished, though the client may have gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), busyTimeout)
		defer cancel()
		a, err := f(ctx, q)
		if err != nil {
			reply(w, statusOf(err), failure{err.Error()})
			return
		}
		reply(w, http.StatusOK, a)
	})
}

func statusOf(err error) int {
	for _, row := range []struct {
		err    error
		status int
	}{
		{os.ErrExist, http.StatusConflict},
		{target.ErrConfigStringPresent, http.StatusConflict},
		{target.ErrReserved, http.StatusConflict},
		{target.ErrNoDisk, http.StatusNotFound},
		{errNoFile, http.StatusBadRequest},
	} {
		if errors.Is(err, row.err) {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// reply writes a as JSON. The client may have gone: then nobody wants it.
func reply(w http.ResponseWriter, status int, a any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a)
}

var errNoFile = errors.New("this target has no file to read again: it was not started with --config")

func (s *Server) status() Status {
	return Status{
		Name: s.Name, PID: os.Getpid(), Since: s.since, Config: s.target.Config,
		Disks: s.target.Inventory.Entries(), Stats: s.target.Server.Stats(),
	}
}

func (s *Server) add(_ context.Context, d conf.Disk) (nothing, error) {
	return nothing{}, s.target.Inventory.AddDisk(d, inventory.Control)
}

func (s *Server) remove(ctx context.Context, q onDisk) (nothing, error) {
	return nothing{}, s.target.Inventory.RemoveDisk(ctx, q.Addr)
}

func (s *Server) resize(_ context.Context, q resize) (nothing, error) {
	return nothing{}, s.target.Inventory.Resize(q.Addr, q.Length)
}

func (s *Server) mask(_ context.Context, q maskEdit) (Settings, error) {
	edits, err := ParseMask(q.Edits)
	if err != nil {
		return Settings{}, err
	}
	set, err := s.target.Server.EditMask(q.Addr, edits)
	return settings(set), err
}

func (s *Server) reserve(_ context.Context, q setReserve) (Settings, error) {
	set, err := s.target.Server.SetReserve(q.Addr, q.Reserve, q.Force)
	return settings(set), err
}

func (s *Server) config(_ context.Context, q setConfig) (Settings, error) {
	set, err := s.target.Server.SetConfigString(q.Addr, q.ConfigString, q.Force)
	return settings(set), err
}

func settings(s target.Settings) Settings { return Settings{s.ConfigString, s.Mask, s.Reserve} }

func (s *Server) reload(ctx context.Context, _ nothing) (inventory.Counts, error) {
	if s.target.Reload == nil {
		return inventory.Counts{}, errNoFile
	}
	return s.target.Reload(ctx)
}
