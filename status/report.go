// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Report is what a daemon says of itself at one moment. The lists are in no
// particular order.
type Report struct {
	// Daemon is the program's name, such as "offload-dpu".
	Daemon  string    `json:"daemon"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`

	Links   []Link   `json:"links"`
	Streams []Stream `json:"streams"`
	Mounts  []Mount  `json:"mounts"`
	Shims   []Shim   `json:"shims"`
	Shadows []Shadow `json:"shadows"`
}

// LinkState is what a link is doing.
type LinkState string

// The states of a link.
const (
	// LinkConnecting is a link that was never up.
	LinkConnecting LinkState = "connecting"
	// LinkUp is a link with a connection.
	LinkUp LinkState = "up"
	// LinkResuming is a link that lost its connection and seeks another.
	LinkResuming LinkState = "resuming"
	// LinkDown is a link that has failed for good.
	LinkDown LinkState = "down"
)

// Link is a session with the other machine.
type Link struct {
	// Target is what is at the other end: "agent" or "shim/NAMESPACE/ID".
	Target string `json:"target"`
	// Address is the other machine's.
	Address string    `json:"address"`
	State   LinkState `json:"state"`
	// Since is when the link came into its state.
	Since time.Time `json:"since"`
	// Security says how the ends know each other, such as "mutual TLS".
	Security string `json:"security"`
	// RoundTrip is the last one measured, in nanoseconds; 0 if none was.
	RoundTrip time.Duration `json:"round_trip_ns"`
	// Reconnects counts the connections after the first.
	Reconnects uint64 `json:"reconnects"`
	// BytesIn and BytesOut count what crossed the link.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// Error is why the link is not up.
	Error string `json:"error,omitempty"`
}

// Stream is one stream of a link.
type Stream struct {
	// Link is the Target of its link.
	Link string `json:"link"`
	ID   uint64 `json:"id"`
	// Service is what the stream is for.
	Service  string    `json:"service"`
	Opened   time.Time `json:"opened"`
	BytesIn  uint64    `json:"bytes_in"`
	BytesOut uint64    `json:"bytes_out"`
}

// Mount is a mount that the daemon keeps.
type Mount struct {
	// Source is what is mounted, such as "host:/run/offload/tree".
	Source string `json:"source"`
	// Target is where.
	Target string `json:"target"`
	// Type is the file system's, such as "fuse.remotefs".
	Type     string `json:"type"`
	ReadOnly bool   `json:"read_only"`
}

// Shim is one half of a pod's shim.
type Shim struct {
	// Namespace is containerd's; ID is the pod's. Both are empty for a shim
	// that waits for a pod.
	Namespace string    `json:"namespace"`
	ID        string    `json:"id"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	// State says what the shim is doing, such as "warm" or "running".
	State string `json:"state"`
}

// Shadow is the process that stands on the DPU for a task of the HOST.
type Shadow struct {
	Namespace string `json:"namespace"`
	// ID is the task's.
	ID  string `json:"id"`
	PID int    `json:"pid"`
}
