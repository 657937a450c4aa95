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
	Mounts  []Mount  `json:"mounts"`
	Shims   []Shim   `json:"shims"`
	Shadows []Shadow `json:"shadows"`
	// Store is the HOST's; nil on the DPU.
	Store *Store `json:"store,omitempty"`
	// Problems are what the daemon finds wrong around it, a sentence each.
	Problems []string `json:"problems"`
}

// LinkState is what a link is doing.
type LinkState string

// The states of a link.
const (
	// LinkConnecting is a link that is not up and has nothing to resume.
	LinkConnecting LinkState = "connecting"
	// LinkUp is a link with a connection.
	LinkUp LinkState = "up"
	// LinkResuming is a link that lost its connection and seeks another.
	LinkResuming LinkState = "resuming"
)

// Link is a session with the other machine.
type Link struct {
	// Peer is the other machine: "HOST" or "DPU".
	Peer string `json:"peer"`
	// Address is where the HOST's agent listens.
	Address string    `json:"address"`
	State   LinkState `json:"state"`
	// Since is when the link came into its state.
	Since time.Time `json:"since"`
	// Security says how the ends know each other, such as "mutual TLS".
	Security string `json:"security"`
	// Streams are open now.
	Streams int `json:"streams"`
	// Reconnects counts the connections after the first.
	Reconnects uint64 `json:"reconnects"`
	// BytesIn and BytesOut count what crossed the link, what was sent twice
	// included.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// ReplayBytes are kept now to be sent again if the connection is lost.
	ReplayBytes uint64 `json:"replay_bytes"`
	// Error is why the link is not up.
	Error string `json:"error,omitempty"`
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
	// Mounted tells whether it is there; if it is not, Error says why.
	Mounted bool   `json:"mounted"`
	Error   string `json:"error,omitempty"`
	// Since is when it came into this state.
	Since time.Time `json:"since"`
	Traffic
}

// Traffic are the counters of a mount since it was mounted.
type Traffic struct {
	// Requests were sent to the other machine, Errors of them failed.
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
	// BytesIn and BytesOut are bytes on the link; ReadBytes and WrittenBytes
	// are bytes of files.
	BytesIn      uint64 `json:"bytes_in"`
	BytesOut     uint64 `json:"bytes_out"`
	ReadBytes    uint64 `json:"read_bytes"`
	WrittenBytes uint64 `json:"written_bytes"`
	// Nodes are the files that the kernel knows now, Handles those open now,
	// InFlight the requests without a reply yet.
	Nodes    int `json:"nodes"`
	Handles  int `json:"handles"`
	InFlight int `json:"in_flight"`
}

// Shim is one half of a pod's shim.
type Shim struct {
	// Namespace is containerd's; ID is the pod's. Both are empty for a shim
	// that waits for a pod.
	Namespace string    `json:"namespace"`
	ID        string    `json:"id"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	// State is "warm", "running" or "dead".
	State string `json:"state"`
}

// Shadow is the process that stands on the DPU for a task of the HOST.
type Shadow struct {
	Namespace string `json:"namespace"`
	// Shim is the pod's id, ID the task's.
	Shim string `json:"shim"`
	ID   string `json:"id"`
	PID  int    `json:"pid"`
}

// Store is where the HOST keeps snapshots.
type Store struct {
	Root string `json:"root"`
	// Committed, Active and Views count snapshots by their kind.
	Committed int `json:"committed"`
	Active    int `json:"active"`
	Views     int `json:"views"`
	// Mounted counts those that are mounted now.
	Mounted int `json:"mounted"`
	// FreeBytes and TotalBytes are those of the disk.
	FreeBytes  uint64 `json:"free_bytes"`
	TotalBytes uint64 `json:"total_bytes"`
}
