// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.99, 7}, {[]float64{3, 1, 2}, 0.5, 2}, {[]float64{4, 1, 3, 2}, 0.5, 2},
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred, 0, 1},
	} {
		if got := Quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile %v of %d values is %v, not %v", c.q, len(c.values), got, c.want)
		}
	}
}

func TestFigure(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0.123, "s", "123 ms"}, {12, "s", "12 s"}, {0, "s", "0 s"}, {2.5e-6, "s", "2.5 µs"}, {2048, "B", "2 KiB"},
		{3 << 30, "B/s", "3 GiB/s"}, {0.5, "B", "0.5 B"}, {1500, "op/s", "1.5 kop/s"},
	} {
		if got := Figure(c.value, c.unit); got != c.want {
			t.Errorf("%v %s reads %q, not %q", c.value, c.unit, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{Machine: "a machine", Rows: []Row{
		NewRow("time", "stock", "s", 0.2, 0.1, 1, Lower, 3), NewRow("speed", "stock", "B/s", 200, 100, 0.9, Higher, 3),
	}}
	if r.Rows[0].Ratio != 2 || r.Rows[0].Met() || !r.Rows[1].Met() {
		t.Errorf("%+v", r.Rows)
	}
	file := filepath.Join(t.TempDir(), "made", "report.json")
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	row := got["rows"].([]any)[0].(map[string]any)
	for key, want := range map[string]any{
		"row": "time", "peer": "stock", "unit": "s", "ours": 0.2, "peer_value": 0.1, "ratio": 2.0, "goal": 1.0,
		"better": "lower", "runs": 3.0,
	} {
		if row[key] != want {
			t.Errorf("%s is %v, not %v", key, row[key], want)
		}
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	if strings.Count(table.String(), "short") != 1 || !strings.Contains(table.String(), "200 ms") {
		t.Errorf("%s", table.String())
	}
}

// TestPlot draws rows of every kind: none may leave the picture or break its markup.
func TestPlot(t *testing.T) {
	r := Report{Machine: "2 x <any>", Rows: []Row{
		NewRow("met & lower", "peer", "s", 1, 2, 1, Lower, 3), NewRow("short", "peer", "s", 50, 1, 1.2, Lower, 3),
		NewRow("higher", "peer", "B/s", 90, 100, 0.9, Higher, 3), NewRow("no peer", "peer", "s", 1, 0, 1, Lower, 1), NewRow("no goal", "peer", "s", 9, 1, 0, Lower, 1),
	}}
	var b strings.Builder
	if err := r.Plot(&b, "a <title>"); err != nil {
		t.Fatal(err)
	}
	decoder, bars := xml.NewDecoder(strings.NewReader(b.String())), 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "rect" {
			continue
		}
		bars++
		at := map[string]float64{}
		for _, a := range start.Attr {
			at[a.Name.Local], _ = strconv.ParseFloat(a.Value, 64)
		}
		if at["x"] < plotLabels || at["x"]+at["width"] > plotWidth {
			t.Errorf("a bar from %v, %v wide", at["x"], at["width"])
		}
	}
	if bars != 4 {
		t.Errorf("%d bars", bars)
	}
	for colour, want := range map[string]int{"#3c9a5f": 2, "#d08a2e": 1, "#888": 1, "#c33": 3} {
		if n := strings.Count(b.String(), colour); n != want {
			t.Errorf("%d of colour %s, want %d", n, colour, want)
		}
	}
}
