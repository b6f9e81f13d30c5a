//go:build noreport

package experiments

import (
	"errors"
	"io"
)

// A binary for a machine where every megabyte counts is built with -tags
// noreport: the fonts of the plots, and what the page's template keeps the linker
// from leaving out, are 11 of 27 MB.
var errNoReport = errors.New("this binary was built without reports: build it without -tags noreport")

// SVG needs another build.
func (Chart) SVG() ([]byte, error) { return nil, errNoReport }

// HTML needs another build.
func (Report) HTML(io.Writer) error { return errNoReport }
