package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The picture has two rows of panels, one for each figure. A row has a panel for each payload, and
// a panel has a cluster of bars for each number of connections.
const (
	panelWidth   = 400
	panelHeight  = 220
	panelGap     = 70
	chartMargin  = 60
	legendHeight = 50
)

// colors tell proxies apart, also for color-blind readers (Okabe and Ito's palette).
var colors = []string{"#0072B2", "#E69F00", "#F0E442", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999"}

type figure struct {
	title string
	of    func(sample) float64
}

// drawThroughput returns the results as an SVG picture.
func drawThroughput(all []series, proxies []contender) string {
	var shown []payload
	for _, p := range payloads {
		if len(ofPayload(all, p)) > 0 {
			shown = append(shown, p)
		}
	}
	figures := []figure{{"CPU µs per request, less is better", sample.cpuMicros}, {"requests per second, more is better", sample.rate}}
	width := max(chartMargin+len(shown)*(panelWidth+panelGap), legendWidth(proxies))
	height := legendHeight + len(figures)*(panelHeight+panelGap)
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	drawLegend(&svg, proxies)
	for row, f := range figures {
		for column, p := range shown {
			drawPanel(&svg, panel{
				x: chartMargin + column*(panelWidth+panelGap), y: legendHeight + row*(panelHeight+panelGap),
				title: p.title, figureTitle: f.title, rows: ofPayload(all, p), proxies: proxies, figure: f.of,
			})
		}
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

func drawLegend(svg *strings.Builder, proxies []contender) {
	x := chartMargin
	for i, c := range proxies {
		fmt.Fprintf(svg, `<rect x="%d" y="14" width="12" height="12" fill="%s"/>`, x, colors[i%len(colors)])
		fmt.Fprintf(svg, `<text x="%d" y="25">%s</text>`+"\n", x+18, html.EscapeString(c.name))
		x += legendEntry(c)
	}
}

func legendEntry(c contender) int { return 50 + 7*len(c.name) }

func legendWidth(proxies []contender) int {
	width := chartMargin
	for _, c := range proxies {
		width += legendEntry(c)
	}
	return width
}

type panel struct {
	x, y        int
	title       string
	figureTitle string
	rows        []series
	proxies     []contender
	figure      func(sample) float64
}

func drawPanel(svg *strings.Builder, p panel) {
	var conns []int
	highest := 0.0
	for _, row := range p.rows {
		if !slices.Contains(conns, row.conns) {
			conns = append(conns, row.conns)
		}
		highest = max(highest, medianOf(row.samples, p.figure))
	}
	top := niceCeiling(highest)
	bottom := p.y + panelHeight
	fmt.Fprintf(svg, `<text x="%d" y="%d" ><tspan font-weight="bold">%s:</tspan> %s</text>`+"\n", p.x, p.y, html.EscapeString(p.title), html.EscapeString(p.figureTitle))
	scale := func(value float64) float64 { return value / top * (panelHeight - 20) }
	for line := range 5 {
		value := top * float64(line) / 4
		y := float64(bottom) - scale(value)
		fmt.Fprintf(svg, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/>`, p.x, p.x+panelWidth, y, y)
		fmt.Fprintf(svg, `<text x="%d" y="%.1f" text-anchor="end" fill="#555555">%s</text>`+"\n", p.x-6, y+4, shortNumber(value))
	}
	cluster := float64(panelWidth) / float64(len(conns))
	bar := cluster * 0.84 / float64(len(p.proxies))
	for i, n := range conns {
		left := float64(p.x) + cluster*(float64(i)+0.08)
		for j, c := range p.proxies {
			value := medianOf(find(p.rows, n, c.name).samples, p.figure)
			if math.IsNaN(value) {
				continue
			}
			fmt.Fprintf(svg, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s, %d connections: %s</title></rect>`+"\n",
				left+bar*float64(j), float64(bottom)-scale(value), bar*0.92, scale(value), colors[j%len(colors)],
				html.EscapeString(c.name), n, shortNumber(value))
		}
		fmt.Fprintf(svg, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555555">%s</text>`+"\n",
			float64(p.x)+cluster*(float64(i)+0.5), bottom+16, thousands(float64(n)))
	}
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="middle" fill="#555555">connections</text>`+"\n", p.x+panelWidth/2, bottom+32)
}

// niceCeiling rounds up to a number that four lines divide well.
func niceCeiling(value float64) float64 {
	if value <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(value)))
	for _, factor := range []float64{1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8} {
		if value <= factor*power {
			return factor * power
		}
	}
	return 10 * power
}

func shortNumber(value float64) string {
	if value >= 100 {
		return thousands(value)
	}
	return fmt.Sprintf("%.3g", value)
}
