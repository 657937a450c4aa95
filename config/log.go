// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"io"
	"log/slog"
	"strings"
)

// Log says what a daemon writes about its work, and how.
type Log struct {
	// Level is the least important level that is written: "debug", "info",
	// "warn" or "error".
	Level string `toml:"level"`
	// Format is "text" for key=value lines or "json" for an object per line.
	Format string `toml:"format"`
}

var (
	levels  = []string{"debug", "info", "warn", "error"}
	formats = []string{"text", "json"}
)

func defaultLog() Log { return Log{Level: "warn", Format: "text"} }

// Logger returns a logger that writes to w.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelWarn
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (l Log) check(d *document) {
	d.oneOf("log.level", l.Level, levels)
	d.oneOf("log.format", l.Format, formats)
}

// oneOf reports a value that is not among the allowed ones.
func (d *document) oneOf(key, value string, allowed []string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	last := len(allowed) - 1
	d.report(key, "%q is not known; use %s or %s", value, strings.Join(allowed[:last], ", "), allowed[last])
}
