package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// ErrMissing says that there is no Chromium on this machine.
var ErrMissing = errors.New("browser: no Chromium: install the package chromium")

// Timeouts, for machines that have other things to do.
const (
	callTimeout  = 2 * time.Minute
	closeTimeout = 20 * time.Second
)

// A Browser is a process of Chromium.
type Browser struct {
	cmd *exec.Cmd
	dir string
	to  io.WriteCloser // commands

	mu      sync.Mutex
	last    int                    // number of the latest command
	waiting map[int]chan<- message // for answers, by the command's number
	tabs    map[string]*Tab        // by session
	ended   chan struct{}          // closed when it says nothing more
}

// A message is what either side says: a command, an answer or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// programs are the names that it has.
var programs = []string{"chromium", "chromium-browser", "google-chrome", "chrome"}

// Start starts one that shows nothing. The error is ErrMissing if there is none.
func Start() (*Browser, error) {
	path := ""
	for _, name := range programs {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return nil, ErrMissing
	}
	dir, err := os.MkdirTemp("", "aoe-browser-")
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	b := &Browser{dir: dir, waiting: map[int]chan<- message{}, tabs: map[string]*Tab{}, ended: make(chan struct{})}
	if err := b.start(path); err != nil {
		return nil, fmt.Errorf("browser: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	return b, nil
}

func (b *Browser) start(path string) error {
	theirIn, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirIn.Close()
	from, theirOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, to.Close())
	}
	defer theirOut.Close()
	b.to = to
	b.cmd = exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
		"--user-data-dir="+filepath.Join(b.dir, "data"), "--no-first-run", "--no-default-browser-check",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--disable-crash-reporter", "--disable-breakpad", "--disable-dev-shm-usage", "--password-store=basic", "--mute-audio",
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "about:blank")
	b.cmd.Env = append(os.Environ(), "HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir, "XDG_CACHE_HOME="+b.dir)
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3: it reads, 4: it writes
	if err := b.cmd.Start(); err != nil {
		return errors.Join(err, to.Close(), from.Close())
	}
	go b.listen(from) // ends when the browser does
	return nil
}

// listen hands answers to who waits for them, and events to their tabs.
func (b *Browser) listen(from io.ReadCloser) {
	defer from.Close()
	defer close(b.ended)
	for in := bufio.NewReader(from); ; {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue // not for us: whoever waits for an answer is told by the time
		}
		b.mu.Lock()
		if m.ID != 0 {
			if answer := b.waiting[m.ID]; answer != nil {
				answer <- m
			}
		} else if t := b.tabs[m.Session]; t != nil {
			t.eventLocked(m)
		}
		b.mu.Unlock()
	}
}

// call says a command and waits for the answer, which it puts into result unless
// that is nil.
func (b *Browser) call(session, method string, params, result any) error {
	text, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("browser: %s: %w", method, err)
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	m := message{ID: b.last, Session: session, Method: method, Params: text}
	b.waiting[m.ID] = answer
	if text, err = json.Marshal(m); err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.waiting, m.ID)
		b.mu.Unlock()
	}()
	if err != nil {
		return fmt.Errorf("browser: %s: %w", method, err)
	}
	select {
	case m = <-answer:
	case <-b.ended:
		return fmt.Errorf("browser: %s: the browser has ended", method)
	case <-time.After(callTimeout):
		return fmt.Errorf("browser: %s: no answer in %v", method, callTimeout)
	}
	if m.Error != nil {
		return fmt.Errorf("browser: %s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Result, result); err != nil {
		return fmt.Errorf("browser: %s: %w", method, err)
	}
	return nil
}

// none is a command without parameters.
type none struct{}

// Close ends the browser and removes its files.
func (b *Browser) Close() error {
	asked := make(chan struct{})
	go func() { // ends with the browser at the latest
		defer close(asked)
		_ = b.call("", "Browser.close", none{}, nil) // it may end before it answers
	}()
	select {
	case <-b.ended:
	case <-time.After(closeTimeout):
		_ = b.cmd.Process.Kill() // it may have ended now
		<-b.ended
	}
	<-asked
	_ = b.cmd.Wait() // how it ended does not matter
	err := b.to.Close()
	// Processes of its own may write a little longer.
	for end := time.Now().Add(closeTimeout); ; time.Sleep(50 * time.Millisecond) {
		removeErr := os.RemoveAll(b.dir)
		if removeErr == nil || time.Now().After(end) {
			return errors.Join(err, removeErr)
		}
	}
}
