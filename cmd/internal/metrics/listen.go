package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"aoe/target"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// closeTime is how long a scrape may go on after the target has ended.
const closeTime = time.Second

// A Server answers scrapes of /metrics.
type Server struct {
	// Addr is where it listens; the port is known when 0 was asked for.
	Addr net.Addr

	http   *http.Server
	served chan error
}

// Listen serves the target's counters, and those of the Go runtime and the
// process, over HTTP at addr ("localhost:9100"; ":9100" is every interface),
// until Close.
func Listen(addr string, stats func() target.Stats) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(New(stats), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	s := &Server{
		Addr: l.Addr(),
		http: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},

		served: make(chan error, 1),
	}
	go func() { s.served <- s.http.Serve(l) }() // ends with Close
	return s, nil
}

// Close ends what is being answered, gently first.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
