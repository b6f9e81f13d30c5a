package browser

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A View is what a page is looked at with.
type View struct {
	Width, Height int
	Phone         bool // a phone's browser: it obeys the page's viewport
	Dark          bool // the user prefers dark pages
}

// A Tab is an open page.
type Tab struct {
	b       *Browser
	session string

	// With the Browser's lock held:
	complaints []string
	requests   []string
	loaded     chan struct{}
}

// Open opens a page and waits until it is loaded.
func (b *Browser) Open(url string, v View) (*Tab, error) {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	if err := b.call("", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &session); err != nil {
		return nil, err
	}
	t := &Tab{b: b, session: session.ID, loaded: make(chan struct{})}
	b.mu.Lock()
	b.tabs[t.session] = t
	b.mu.Unlock()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	for _, c := range []struct {
		method string
		params any
	}{
		{"Runtime.enable", none{}}, {"Log.enable", none{}}, {"Network.enable", none{}}, {"Page.enable", none{}},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Phone}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Page.navigate", map[string]any{"url": url}},
	} {
		if err := b.call(t.session, c.method, c.params, nil); err != nil {
			return nil, err
		}
	}
	select {
	case <-t.loaded:
	case <-b.ended:
		return nil, errors.New("browser: it has ended")
	case <-time.After(callTimeout):
		return nil, fmt.Errorf("browser: %s is not loaded after %v", url, callTimeout)
	}
	return t, nil
}

// eventLocked notes what a test wants to know.
func (t *Tab) eventLocked(m message) {
	var e struct {
		Type  string `json:"type"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		Exception struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
		Args []struct {
			Value any `json:"value"`
		} `json:"args"`
	}
	if err := json.Unmarshal(m.Params, &e); err != nil {
		t.complaints = append(t.complaints, fmt.Sprintf("%s that is not understood: %v", m.Method, err))
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case <-t.loaded: // reloaded
		default:
			close(t.loaded)
		}
	case "Runtime.exceptionThrown":
		t.complaints = append(t.complaints, e.Exception.Text+" "+e.Exception.Exception.Description)
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			t.complaints = append(t.complaints, fmt.Sprint(e.Type, ": ", e.Args))
		}
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			t.complaints = append(t.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case "Network.requestWillBeSent":
		if !strings.HasPrefix(e.Request.URL, "data:") {
			t.requests = append(t.requests, e.Request.URL)
		}
	}
}

// Complaints are the errors and warnings so far: of scripts, of the network, and
// of the page's own policy.
func (t *Tab) Complaints() []string {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	return slices.Clone(t.complaints)
}

// Requests are the URLs asked for so far, but for those that hold the data
// themselves.
func (t *Tab) Requests() []string {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	return slices.Clone(t.requests)
}

// Eval puts the value of a JavaScript expression into result.
func (t *Tab) Eval(expression string, result any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}
	if err := t.b.call(t.session, "Runtime.evaluate", params, &r); err != nil {
		return err
	}
	if r.Exception != nil {
		return fmt.Errorf("browser: %s: %s %s", expression, r.Exception.Text, r.Exception.Exception.Description)
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		return fmt.Errorf("browser: %s: %w", expression, err)
	}
	return nil
}

// Wait waits until a JavaScript expression is true.
func (t *Tab) Wait(expression string) error {
	for end := time.Now().Add(callTimeout); ; time.Sleep(20 * time.Millisecond) {
		var holds bool
		if err := t.Eval("Boolean("+expression+")", &holds); err != nil || holds {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("browser: after %v it does not hold that %s", callTimeout, expression)
		}
	}
}

// Screenshot writes a picture (PNG) of the whole page.
func (t *Tab) Screenshot(path string) error {
	var shot struct {
		Data string `json:"data"`
	}
	if err := t.b.call(t.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot); err != nil {
		return err
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return fmt.Errorf("browser: %w", err)
	}
	return os.WriteFile(path, png, 0o666)
}
