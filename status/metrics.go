// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// MetricsPath is the path of the metrics.
const MetricsPath = "/metrics"

// metricsType is the media type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// MetricsHandler answers with a report as metrics in Prometheus' text format.
func MetricsHandler(provide Provider) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+MetricsPath, func(w http.ResponseWriter, r *http.Request) {
		report, err := provide(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", metricsType)
		// The only error there can be is that the client has gone.
		_, _ = w.Write(append(report.Metrics(), processMetrics()...))
	})
	return mux
}

// processMetrics are about the process that answers, by the names that every Go program has for them.
func processMetrics() []byte {
	var out bytes.Buffer
	family{"go_goroutines", "gauge", "Goroutines of the daemon.", one(float64(runtime.NumGoroutine()))}.write(&out)
	return out.Bytes()
}

// family is one metric: its samples have a value for each set of labels.
type family struct {
	name, kind, help string
	samples          []sample
}

type sample struct {
	labels []string // names and values in turn
	value  float64
}

// Metrics returns the report in Prometheus' text format.
func (r *Report) Metrics() []byte {
	families := []family{
		{"offload_info", "gauge", "The running daemon; the value is 1.", []sample{{[]string{"daemon", r.Daemon, "version", r.Version}, 1}}},
		{"offload_start_time_seconds", "gauge", "When the daemon was started, in Unix time.", one(float64(r.Started.UnixNano()) / 1e9)},
		{"offload_problems", "gauge", "What the daemon finds wrong around it; see offloadctl doctor.", one(float64(len(r.Problems)))},
	}
	families = append(families, r.linkMetrics()...)
	families = append(families, r.mountMetrics()...)
	families = append(families, family{"offload_shims", "gauge", "Halves of shims on this machine by what they do.", r.shimSamples()})
	if r.Store == nil {
		families = append(families, family{"offload_shadows", "gauge", "Shadows of tasks.", one(float64(len(r.Shadows)))})
	} else {
		families = append(families, r.Store.metrics()...)
	}
	var out bytes.Buffer
	for _, f := range families {
		f.write(&out)
	}
	return out.Bytes()
}

func one(value float64) []sample { return []sample{{value: value}} }

// column makes a family of one figure of each element of a list.
func column[T any](name, kind, help string, list []T, labels func(T) []string, figure func(T) float64) family {
	f := family{name: name, kind: kind, help: help}
	for _, e := range list {
		f.samples = append(f.samples, sample{labels(e), figure(e)})
	}
	return f
}

func (r *Report) linkMetrics() []family {
	labels := func(l Link) []string { return []string{"address", l.Address} }
	return []family{
		column("offload_link_up", "gauge", "Whether a link has a connection.", r.Links, labels, func(l Link) float64 { return flag(l.State == LinkUp) }),
		column("offload_link_reconnects_total", "counter", "Connections of a link after its first.", r.Links, labels, func(l Link) float64 { return float64(l.Reconnects) }),
		column("offload_link_received_bytes_total", "counter", "Bytes that came over a link.", r.Links, labels, func(l Link) float64 { return float64(l.BytesIn) }),
		column("offload_link_sent_bytes_total", "counter", "Bytes that went over a link.", r.Links, labels, func(l Link) float64 { return float64(l.BytesOut) }),
		column("offload_link_replay_bytes", "gauge", "Bytes kept to be sent again after a loss.", r.Links, labels, func(l Link) float64 { return float64(l.ReplayBytes) }),
		column("offload_link_streams", "gauge", "Open streams of a link.", r.Links, labels, func(l Link) float64 { return float64(l.Streams) }),
	}
}

func (r *Report) mountMetrics() []family {
	labels := func(m Mount) []string { return []string{"mountpoint", m.Target} }
	return []family{
		column("offload_mount_up", "gauge", "Whether a mount is there.", r.Mounts, labels, func(m Mount) float64 { return flag(m.Mounted) }),
		column("offload_mount_requests_total", "counter", "Requests sent to the other machine.", r.Mounts, labels, func(m Mount) float64 { return float64(m.Requests) }),
		column("offload_mount_errors_total", "counter", "Requests that failed.", r.Mounts, labels, func(m Mount) float64 { return float64(m.Errors) }),
		column("offload_mount_read_bytes_total", "counter", "Bytes of files that were read.", r.Mounts, labels, func(m Mount) float64 { return float64(m.ReadBytes) }),
		column("offload_mount_written_bytes_total", "counter", "Bytes of files that were written.", r.Mounts, labels, func(m Mount) float64 { return float64(m.WrittenBytes) }),
		column("offload_mount_in_flight", "gauge", "Requests without a reply yet.", r.Mounts, labels, func(m Mount) float64 { return float64(m.InFlight) }),
	}
}

// States of a shim.
const (
	ShimWarm    = "warm"
	ShimRunning = "running"
	ShimDead    = "dead"
)

func (r *Report) shimSamples() []sample {
	count := make(map[string]int)
	for _, s := range r.Shims {
		count[s.State]++
	}
	var out []sample
	for _, state := range []string{ShimWarm, ShimRunning, ShimDead} {
		out = append(out, sample{[]string{"state", state}, float64(count[state])})
	}
	return out
}

func (s *Store) metrics() []family {
	return []family{
		{"offload_snapshots", "gauge", "Snapshots of the store by kind.", []sample{
			{[]string{"kind", "committed"}, float64(s.Committed)},
			{[]string{"kind", "active"}, float64(s.Active)},
			{[]string{"kind", "view"}, float64(s.Views)},
		}},
		{"offload_snapshots_mounted", "gauge", "Snapshots that are mounted.", one(float64(s.Mounted))},
		{"offload_store_free_bytes", "gauge", "Free bytes on the store's disk.", one(float64(s.FreeBytes))},
		{"offload_store_size_bytes", "gauge", "Size of the store's disk.", one(float64(s.TotalBytes))},
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// escape prepares a label's value, which may hold anything.
var escape = strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\"", "\\\"")

func (f family) write(out *bytes.Buffer) {
	if len(f.samples) == 0 {
		return
	}
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	for _, s := range f.samples {
		out.WriteString(f.name)
		for i := 0; i < len(s.labels); i += 2 {
			sep := ","
			if i == 0 {
				sep = "{"
			}
			fmt.Fprintf(out, `%s%s="%s"`, sep, s.labels[i], escape.Replace(s.labels[i+1]))
		}
		if len(s.labels) > 0 {
			out.WriteByte('}')
		}
		fmt.Fprintf(out, " %s\n", strconv.FormatFloat(s.value, 'g', -1, 64))
	}
}
