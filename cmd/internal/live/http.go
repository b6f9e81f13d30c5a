package live

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"aoe/cmd/internal/rundir"
)

//go:embed live.html
var page string

// policy lets the page run its own script and style, and speak to us: nothing
// else, whatever it holds.
func policy() string {
	hash := func(element string) string {
		_, rest, _ := strings.Cut(page, "<"+element+">")
		text, _, _ := strings.Cut(rest, "</"+element+">")
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"script-src " + hash("script") + "; style-src " + hash("style")
}

func (p *Page) handler() http.Handler {
	csp := policy()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", csp)
		_, _ = fmt.Fprint(w, page) // who asked may have gone
	})
	mux.HandleFunc("GET /events", p.events)
	mux.HandleFunc("GET /stats", p.stats)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// writeTimeout is how long one event may take to be taken by the network: a
// reader that does not read is cut.
const writeTimeout = 10 * time.Second

// events sends "event: NAME", "data: JSON" and an empty line, as the HTML
// standard describes server-sent events.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	past, now, updates, err := p.subscribe()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer p.unsubscribe(updates)
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(name string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return errors.Join(out.SetWriteDeadline(time.Now().Add(writeTimeout)),
			second(fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, text)), out.Flush())
	}
	err = send("history", past)
	if err == nil {
		err = send("sample", now)
	}
	for err == nil {
		select {
		case u, more := <-updates:
			if !more {
				return
			}
			err = send("sample", u)
		case <-r.Context().Done():
			return
		}
	}
}

func second(_ int, err error) error { return err }

// stats is the latest, whole.
func (p *Page) stats(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	answer := struct {
		update
		Disk *rundir.Status `json:"disk"` // null while none is attached
	}{p.latestLocked(), p.status}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(answer) // who asked may have gone
}
