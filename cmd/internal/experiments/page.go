//go:build !noreport

package experiments

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html
var page string

// HTML writes the report as one page that needs nothing else.
func (r Report) HTML(to io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"svg": func(c Chart) (template.HTML, error) {
			svg, err := c.SVG()
			// The picture is drawn by us from our own numbers and names.
			return template.HTML(svg), err
		},
		"lower":   strings.ToLower,
		"long":    func(t Table) bool { return len(t.Rows) > 14 },
		"numeric": func(t Table, i int) bool { return t.numeric(i) },
		"badge":   func(v Verdict) string { return map[Verdict]string{Holds: "good", Partly: "part", Fails: "bad"}[v] },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(to, r)
}
