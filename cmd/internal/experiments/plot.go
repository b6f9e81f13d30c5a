//go:build !noreport

package experiments

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of Okabe and Ito, which people who see few colours tell apart.
var (
	good   = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	bad    = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	series = []color.RGBA{
		{0x00, 0x72, 0xb2, 0xff}, bad, good, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff},
		{0x56, 0xb4, 0xe9, 0xff}, {0x00, 0x00, 0x00, 0xff}, {0x99, 0x99, 0x99, 0xff}, {0x8b, 0x5a, 0x2b, 0xff},
	}
)

const (
	chartWidth  = 16 * vg.Centimeter
	chartHeight = 9 * vg.Centimeter
	edge        = 0.5 * vg.Centimeter // for what stands out of the last tick
	barHeight   = 0.55 * vg.Centimeter
	barWidth    = 0.35 * vg.Centimeter
)

// SVG draws a chart as a picture that scales, without a background: the page
// around it decides how light or dark it is.
func (c Chart) SVG() ([]byte, error) {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Title.Padding = vg.Points(8)
	p.X.Tick.Marker, p.Y.Tick.Marker = plainTicks{}, plainTicks{}
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	p.Legend.Padding = vg.Points(2)
	height := chartHeight
	var err error
	switch {
	case len(c.Bars) > 0:
		height = vg.Length(len(c.Bars))*barHeight + 2.5*vg.Centimeter
		err = addBars(p, c.Bars)
	case len(c.Lines) > 0:
		err = c.addLines(p)
	case len(c.Fields) > 0:
		err = addFields(p, c.Fields)
	default:
		err = fmt.Errorf("experiments: nothing to draw in chart %q", c.Title)
	}
	if err != nil {
		return nil, err
	}
	canvas := vgsvg.New(chartWidth, height)
	p.Draw(draw.Crop(draw.New(canvas), 0, -edge, 0, 0))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return scalable(b.Bytes()), nil
}

var fixedSize = regexp.MustCompile(`<svg width="[^"]*" height="[^"]*"`)

// scalable leaves the size of the picture to the page. The XML declaration
// before it has no place inside one.
func scalable(svg []byte) []byte {
	if i := bytes.Index(svg, []byte("<svg")); i > 0 {
		svg = svg[i:]
	}
	return fixedSize.ReplaceAll(svg, []byte(`<svg role="img"`))
}

// addBars draws bars to the right, the first on top.
func addBars(p *plot.Plot, bars []Bar) error {
	n := len(bars)
	values := map[bool]plotter.Values{true: make(plotter.Values, n), false: make(plotter.Values, n)}
	names := make([]string, n)
	most := 0.0
	for i, b := range bars {
		values[b.Good][n-1-i] = b.Value
		names[n-1-i] = b.Name
		most = max(most, b.Value)
	}
	for _, isGood := range []bool{true, false} {
		chart, err := plotter.NewBarChart(values[isGood], barWidth)
		if err != nil {
			return err
		}
		chart.Horizontal, chart.LineStyle.Width = true, 0
		chart.Color = bad
		if isGood {
			chart.Color = good
		}
		p.Add(chart)
	}
	// A bar of length zero cannot be seen; that there is one is the news.
	zeros := map[bool]plotter.XYs{}
	for i, b := range bars {
		if b.Value == 0 {
			zeros[b.Good] = append(zeros[b.Good], plotter.XY{Y: float64(n - 1 - i)})
		}
	}
	for _, isGood := range []bool{true, false} {
		if len(zeros[isGood]) == 0 {
			continue
		}
		colour := bad
		if isGood {
			colour = good
		}
		if err := addPoints(p, zeros[isGood], colour, vg.Points(3), draw.CircleGlyph{}); err != nil {
			return err
		}
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, max(most*1.05, 1)
	return nil
}

func (c Chart) addLines(p *plot.Plot) error {
	p.Legend.Top, p.Legend.Left = true, true
	for i, l := range c.Lines {
		if len(l.X) != len(l.Y) || len(l.X) == 0 {
			return fmt.Errorf("experiments: line %q has %d and %d coordinates", l.Name, len(l.X), len(l.Y))
		}
		points := make(plotter.XYs, len(l.X))
		for j := range l.X {
			points[j] = plotter.XY{X: l.X[j], Y: l.Y[j]}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = series[i%len(series)], vg.Points(1.5)
		dots.Color, dots.Shape = line.Color, draw.CircleGlyph{}
		p.Add(line, dots)
		p.Legend.Add(l.Name, line, dots)
	}
	p.Y.Min = min(p.Y.Min, 0)
	// Room for the legend above the lines.
	p.Y.Max += (p.Y.Max - p.Y.Min) * 0.09 * float64(len(c.Lines))
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	return nil
}

// plainTicks are the usual ones without zeros that say nothing: 250, and not 250.00.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i, t := range ticks {
		if v, err := strconv.ParseFloat(t.Label, 64); err == nil { // others have none
			ticks[i].Label = strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	return ticks
}

// addFields draws a phase diagram.
func addFields(p *plot.Plot, fields []Square) error {
	var x, y []float64
	for _, isGood := range []bool{true, false} {
		var points plotter.XYs
		for _, f := range fields {
			x, y = append(x, f.X), append(y, f.Y)
			if f.Good == isGood {
				points = append(points, plotter.XY{X: f.X, Y: f.Y})
			}
		}
		if len(points) == 0 {
			continue
		}
		// Not by colour alone: what lives is a filled square, what dies a cross.
		shape, c, name := draw.GlyphDrawer(draw.BoxGlyph{}), good, "lives"
		if !isGood {
			shape, c, name = draw.CrossGlyph{}, bad, "can die"
		}
		if err := addPoints(p, points, c, vg.Points(9), shape); err != nil {
			return err
		}
		key, err := plotter.NewScatter(points[:1])
		if err != nil {
			return err
		}
		key.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(4), Shape: shape}
		p.Legend.Add(name, key)
	}
	p.Legend.Top = true
	p.X.Min, p.X.Max = slices.Min(x)-0.5, slices.Max(x)+1.5
	p.Y.Min, p.Y.Max = slices.Min(y)-0.5, slices.Max(y)+0.5
	p.X.Tick.Marker, p.Y.Tick.Marker = wholeNumbers(slices.Max(x)), wholeNumbers(slices.Max(y))
	return nil
}

func addPoints(p *plot.Plot, points plotter.XYs, c color.Color, radius vg.Length, shape draw.GlyphDrawer) error {
	s, err := plotter.NewScatter(points)
	if err != nil {
		return err
	}
	s.GlyphStyle = draw.GlyphStyle{Color: c, Radius: radius, Shape: shape}
	p.Add(s)
	return nil
}

// wholeNumbers marks every whole number of an axis, as far as there is data.
type wholeNumbers float64

// Ticks implements plot.Ticker.
func (last wholeNumbers) Ticks(least, _ float64) []plot.Tick {
	var ticks []plot.Tick
	for v := int(math.Ceil(least)); v <= int(last); v++ {
		ticks = append(ticks, plot.Tick{Value: float64(v), Label: fmt.Sprint(v)})
	}
	return ticks
}
