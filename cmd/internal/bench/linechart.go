package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// lineChart draws panels one above the other, which share an x axis, as SVG.
type lineChart struct {
	title  string
	x      string // what is on the x axis
	log    bool   // by powers of ten
	panels []panel
}

// panel is one y axis, from 0 up.
type panel struct {
	title, about string
	lines        []line
}

// line is named where it ends. Its class is a bar's in chartStyle.
type line struct {
	name, class string
	points      []point
}

type point struct{ x, y float64 }

// Sizes of a panel, in the chart's own units.
const (
	plotLeft   = 56
	plotRight  = 190 // for the names
	plotHeight = 130
	plotFoot   = 44
)

// lineStyle is what lines need beside chartStyle.
const lineStyle = `<style>
.grid { stroke: #d0d7de } .line { fill: none; stroke-width: 2 } .mark { stroke: none }
.line.ours { stroke: #0969da } .line.light { stroke: #79b8ff; stroke-dasharray: 5 3 } .line.bar { stroke: #8c959f }
@media (prefers-color-scheme: dark) {
.grid { stroke: #30363d } .line.ours { stroke: #4493f8 } .line.light { stroke: #79c0ff } .line.bar { stroke: #8b949e }
}
</style>
`

func (c lineChart) svg() string {
	var b strings.Builder
	y := 4
	for _, p := range c.panels {
		y = c.panel(&b, p, y)
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n<title>%s</title>\n", chartWidth, y, html.EscapeString(c.title)) +
		chartStyle + lineStyle + b.String() + "</svg>\n"
}

// panel draws one from y on and returns where it ends.
func (c lineChart) panel(b *strings.Builder, p panel, y int) int {
	fmt.Fprintf(b, "<text class=\"title\" x=\"0\" y=\"%d\">%s</text>\n", y+14, html.EscapeString(p.title))
	fmt.Fprintf(b, "<text class=\"about\" x=\"0\" y=\"%d\">%s</text>\n", y+30, html.EscapeString(p.about))
	top := float64(y + panelHead + 4)
	bottom := top + plotHeight
	upper := ceiling(p.most())
	atY := func(v float64) float64 { return bottom - v/upper*plotHeight }
	const right = chartWidth - plotRight
	for i := range 5 {
		v := upper * float64(i) / 4
		fmt.Fprintf(b, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", plotLeft, atY(v), right)
		fmt.Fprintf(b, "<text class=\"about\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", plotLeft-6, atY(v)+4, v)
	}
	atX := c.scale()
	for _, v := range c.ticks() {
		fmt.Fprintf(b, "<text class=\"about\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", atX(v), bottom+16, thousands(v))
	}
	fmt.Fprintf(b, "<text class=\"about\" x=\"%d\" y=\"%.1f\">%s</text>\n", right+24, bottom+16, html.EscapeString(c.x))
	for _, l := range p.lines {
		l.draw(b, atX, atY)
	}
	p.names(b, atX, atY)
	return int(bottom) + plotFoot
}

// names writes each line's name where it ends, one below the other where they would overlap.
func (p panel) names(b *strings.Builder, atX, atY func(float64) float64) {
	const apart = 15
	end := func(l line) point { return l.points[len(l.points)-1] }
	lines := slices.DeleteFunc(slices.Clone(p.lines), func(l line) bool { return len(l.points) == 0 })
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(atY(end(a).y), atY(end(b).y)) })
	y := math.Inf(-1)
	for _, l := range lines {
		y = max(y+apart, atY(end(l).y))
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", atX(end(l).x)+8, y+4, html.EscapeString(l.name))
	}
}

// draw draws a line with a mark at each point.
func (l line) draw(b *strings.Builder, atX, atY func(float64) float64) {
	var path strings.Builder
	for i, p := range l.points {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], atX(p.x), atY(p.y))
		fmt.Fprintf(b, "<circle class=\"mark %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", l.class, atX(p.x), atY(p.y))
	}
	fmt.Fprintf(b, "<path class=\"line %s\" d=\"%s\"/>\n", l.class, path.String())
}

// span is from the least to the greatest x of all lines.
func (c lineChart) span() (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	for _, p := range c.panels {
		for _, l := range p.lines {
			for _, at := range l.points {
				least, most = min(least, at.x), max(most, at.x)
			}
		}
	}
	return least, most
}

// scale returns where an x is drawn.
func (c lineChart) scale() func(float64) float64 {
	least, most := c.span()
	place := func(x float64) float64 { return x / most }
	if c.log {
		place = func(x float64) float64 { return math.Log(x/least) / math.Log(most/least) }
	}
	return func(x float64) float64 { return plotLeft + place(x)*(chartWidth-plotLeft-plotRight) }
}

// ticks are powers of ten, or eighths from 0.
func (c lineChart) ticks() (all []float64) {
	least, most := c.span()
	if c.log {
		for v := math.Pow(10, math.Ceil(math.Log10(least))); v <= most*1.05; v *= 10 {
			all = append(all, min(v, most))
		}
		return all
	}
	upper := ceiling(most)
	for i := range 9 {
		if v := upper * float64(i) / 8; v <= most {
			all = append(all, v)
		}
	}
	return all
}

func (p panel) most() (v float64) {
	for _, l := range p.lines {
		for _, at := range l.points {
			v = max(v, at.y)
		}
	}
	return v
}

// ceiling is the next number from v up whose quarters are short.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 4, 6, 8} {
		if v <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

// thousands writes a number with commas.
func thousands(v float64) string {
	s := fmt.Sprintf("%g", v)
	if n, err := fmt.Sscanf(s, "%d", new(int)); n != 1 || err != nil || v < 1000 {
		return s
	}
	whole := fmt.Sprintf("%.0f", v)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
