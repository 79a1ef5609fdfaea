package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Sizes of the chart, in its own units.
const (
	chartWidth = 760
	labelWidth = 170
	valueWidth = 150
	barHeight  = 14
	barStep    = 20
	panelHead  = 44
)

// chartStyle is for both a light and a dark page.
const chartStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px } .about { fill: #57606a }
.bar { fill: #afb8c1 } .ours { fill: #0969da } .light { fill: #79b8ff } .spread { stroke: #57606a; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .about { fill: #8b949e } .bar { fill: #57606a } .ours { fill: #4493f8 } .light { fill: #1f4b85 } .spread { stroke: #c9d1d9 }
}
</style>
`

// chart draws a panel for each mode, with a bar for each peer, as SVG. Shorter is better in all of them.
func (r *results) chart() string {
	var b strings.Builder
	y := 4
	for _, m := range r.modes {
		y = r.panel(&b, m, y)
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n"+
		"<title>What each peer takes for the same work; shorter is better</title>\n", chartWidth, y) + chartStyle + b.String() + "</svg>\n"
}

// panel draws one mode from y on and returns where it ends.
func (r *results) panel(b *strings.Builder, m mode, y int) int {
	most := 0.0
	for _, p := range r.peers {
		if values := r.values(m, p, m.main); p.name != direct && len(values) > 0 {
			most = max(most, spreadOf(values).most)
		}
	}
	if most <= 0 {
		return y
	}
	fmt.Fprintf(b, "<text class=\"title\" x=\"0\" y=\"%d\">%s: %s</text>\n", y+14, m.name, html.EscapeString(r.heading(m, m.main)))
	fmt.Fprintf(b, "<text class=\"about\" x=\"0\" y=\"%d\">%s</text>\n", y+30, html.EscapeString(m.about))
	y += panelHead
	for _, p := range r.peers {
		if values := r.values(m, p, m.main); p.name != direct && len(values) > 0 {
			r.bar(b, m, p, spreadOf(values), most, y)
			y += barStep
		}
	}
	return y + barStep/2
}

func (r *results) bar(b *strings.Builder, m mode, p peer, s spread, most float64, y int) {
	at := func(v float64) float64 {
		return labelWidth + max(0, v)/most*float64(chartWidth-labelWidth-valueWidth)
	}
	class := "bar"
	if strings.HasPrefix(p.name, "postern") {
		class = "light"
	}
	if p.name == "postern" {
		class = "ours"
	}
	middle := y + barHeight/2
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, y+barHeight-3, html.EscapeString(p.title))
	fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", class, labelWidth, y, max(1, at(s.median)-labelWidth), barHeight)
	fmt.Fprintf(b, "<path class=\"spread\" d=\"M%.1f %dV%dM%.1f %dH%.1fM%.1f %dV%d\"/>\n", at(s.least), middle-3, middle+3, at(s.least), middle, at(s.most),
		at(s.most), middle-3, middle+3)
	label := fmt.Sprintf("%.*f", m.main.digits, s.median)
	if ratios := r.ratios(m, p); !m.added && p.name != reference && len(ratios) > 0 {
		label += fmt.Sprintf(" (%.2f x)", spreadOf(ratios).median)
	}
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", slices.Max([]float64{at(s.median), at(s.most)})+8, y+barHeight-3, label)
}
