package browser

import _ "embed"

// An Audit is what can be said of a page without having eyes.
type Audit struct {
	// ScrollWidth is how wide the page is, Width how much of it is seen, in
	// pixels: if they differ, it has to be moved sideways to be read.
	ScrollWidth int `json:"scrollWidth"`
	Width       int `json:"width"`
	// Wide names elements that reach out of it, but for those in something
	// that scrolls by itself.
	Wide []string `json:"wide"`
	// Texts is how many elements with text were looked at, Worst the least
	// contrast of one against its ground (WCAG 2: 1 to 21), and Faint those
	// below 4.5.
	Texts int      `json:"texts"`
	Worst float64  `json:"worst"`
	Faint []string `json:"faint"`
	// Text and Ground are the page's colours, as the browser writes them.
	Text   string `json:"text"`
	Ground string `json:"ground"`
}

//go:embed audit.js
var audit string

// Audit looks at the page as it is now.
func (t *Tab) Audit() (a Audit, err error) {
	err = t.Eval(audit, &a)
	return a, err
}
