// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The measures of a plot, in the SVG's own units.
const (
	plotWidth  = 860
	plotLabels = 430 // left of the bars
	plotRow    = 22
	plotTop    = 34
)

// Plot draws the ratios as an SVG: a bar from 1, where both are equal, on a logarithmic scale, and a tick at each goal.
// Green bars have reached it; grey ones have none.
func (r Report) Plot(out io.Writer, title string) error {
	reach := 2.0 // how many times more or less the scale shows
	for _, row := range r.Rows {
		for _, v := range []float64{row.Ratio, row.Goal} {
			if v > 0 {
				reach = max(reach, math.Exp(math.Abs(math.Log(v))))
			}
		}
	}
	half := float64(plotWidth-plotLabels-70) / 2
	middle := plotLabels + half
	x := func(ratio float64) float64 { return middle + half*math.Log(ratio)/math.Log(reach) }

	var b strings.Builder
	height := plotTop + plotRow*len(r.Rows) + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#777">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="8" y="20" font-size="14">%s</text>`+"\n", html.EscapeString(title))
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#999"/>`+"\n", middle, middle, plotTop-4, height-24)
	for i, row := range r.Rows {
		y := plotTop + plotRow*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" font-size="10">%s</text>`+"\n", plotLabels-8, y+14, html.EscapeString(row.Row+" / "+row.Peer))
		if row.Ratio <= 0 {
			continue
		}
		colour := "#d08a2e"
		switch {
		case row.Goal == 0:
			colour = "#888"
		case row.Met():
			colour = "#3c9a5f"
		}
		from, to := min(middle, x(row.Ratio)), max(middle, x(row.Ratio))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="14" fill="%s"/>`+"\n", from, y+3, max(to-from, 1), colour)
		if row.Goal > 0 {
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#c33" stroke-width="2"/>`+"\n", x(row.Goal), x(row.Goal), y+1, y+19)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.2f</text>`+"\n", plotWidth-8, y+14, row.Ratio)
	}
	fmt.Fprintf(&b, `<text x="8" y="%d" font-size="11">ours by the peer's, %.3g to %.3g, logarithmic; red: the goal; %s</text>`+"\n</svg>\n",
		height-8, 1/reach, reach, html.EscapeString(r.Machine))
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("draw report: %w", err)
	}
	return nil
}

// Markdown writes the report as a table of a document.
func (r Report) Markdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| | ours | peer | ratio | goal | runs | compared with |\n|---|--:|--:|--:|--:|--:|---|\n", r.Machine)
	for _, row := range r.Rows {
		ratio := fmt.Sprintf("%.2f", row.Ratio)
		if row.Goal != 0 && row.Met() {
			ratio = "**" + ratio + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %s |\n", row.Row, Figure(row.Ours, row.Unit),
			Figure(row.Peers, row.Unit), ratio, row.bound("≤", "≥"), row.Runs, row.Peer)
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}
