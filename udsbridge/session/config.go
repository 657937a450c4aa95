// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"log/slog"
	"time"
)

// Bounds of what Open takes, in bytes.
const (
	MaxService = 255
	MaxHeader  = 16 << 10
)

// Config says how a session behaves. Zero values mean the defaults.
type Config struct {
	// Name is the peer in errors and logs, such as "HOST tcp://10.0.0.1:7600".
	Name string
	// ResumeTimeout is how long a session lives without a connection. The shorter
	// one of both ends holds. Default 5 minutes.
	ResumeTimeout time.Duration
	// OpenTimeout is how long Open waits for a connection to come back before it
	// fails. Default 3 seconds.
	OpenTimeout time.Duration
	// ListenGrace is how long, from the session's beginning, streams wait for
	// somebody to listen for their service; after it, or after Ready, a stream that
	// nobody listens for is reset at once. Default 10 seconds.
	ListenGrace time.Duration
	// KeepaliveInterval is the silence after which the peer is asked for a sign of
	// life. Default 3 seconds.
	KeepaliveInterval time.Duration
	// DeadAfter is the silence after which a connection counts as lost. Default 10
	// seconds; it must exceed KeepaliveInterval.
	DeadAfter time.Duration
	// ReplayBytes bounds what is kept for sending again, in bytes. Default 4 MiB.
	ReplayBytes int
	// WindowBytes is the most a stream's peer may send ahead of its reader, in
	// bytes. A stream starts with less and grows to it as it is read, but no further
	// than a short round trip asks for, see nearWindow. Default 1 MiB.
	WindowBytes int
	// MemoryBytes bounds what the peer can make this end keep that nobody has read
	// yet, in bytes of payload. More streams start with smaller windows, down to
	// 4 KiB; with more than MemoryBytes / 8 KiB of them, those 4 KiB for each are the
	// bound, and a quarter of MemoryBytes. In memory it may take twice as much.
	// Default 64 MiB.
	MemoryBytes int
	// MaxStreams is the most streams the peer may have open at once. Default 4096.
	MaxStreams int
	// Logger gets changes of the connection at debug and info level. Default: none.
	Logger *slog.Logger
}

// withDefaults returns the configuration with every value set and within bounds.
func (c Config) withDefaults() Config {
	c.Name = cmp.Or(c.Name, "peer")
	c.ResumeTimeout = min(cmp.Or(c.ResumeTimeout, 5*time.Minute), maxResumeTimeout)
	c.OpenTimeout = cmp.Or(c.OpenTimeout, 3*time.Second)
	c.ListenGrace = cmp.Or(c.ListenGrace, 10*time.Second)
	c.KeepaliveInterval = cmp.Or(c.KeepaliveInterval, 3*time.Second)
	c.DeadAfter = cmp.Or(c.DeadAfter, 10*time.Second)
	c.ReplayBytes = max(cmp.Or(c.ReplayBytes, 4<<20), minReplayBytes)
	c.WindowBytes = min(max(cmp.Or(c.WindowBytes, 1<<20), minWindowBytes), maxCredit/2)
	c.MemoryBytes = cmp.Or(c.MemoryBytes, 64<<20)
	c.MaxStreams = cmp.Or(c.MaxStreams, 4096)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

const (
	maxResumeTimeout = 30 * 24 * time.Hour
	minReplayBytes   = 2 * maxPayload
	minWindowBytes   = 4 << 10
)

func (c Config) core(dialer bool) coreConfig {
	return coreConfig{
		dialer: dialer, replayBytes: c.ReplayBytes, windowBytes: c.WindowBytes, memoryBytes: c.MemoryBytes,
		maxStreams: c.MaxStreams,
	}
}
