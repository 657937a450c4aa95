// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"encoding/json"
	"fmt"
	"path/filepath"
)

// SocketName is the name, in a pod's directory, of the socket on which its HOST
// half takes further connections.
const SocketName = "handover.sock"

// PIDFile is the name, in a pod's directory, of the file with its half's pid.
const PIDFile = "half.pid"

// ControlFD is the descriptor on which a HOST half finds its control socket.
const ControlFD = 3

// Assignment comes with a connection and says what it is for.
type Assignment struct {
	Target string `json:"target"` // see link.Target.String
	Peer   string `json:"peer"`
	// Dir is the pod's directory, made by the half that takes the assignment.
	Dir string `json:"dir"`
	// NoTime says that containers have no time namespaces here.
	NoTime bool `json:"no_time,omitempty"`
}

// Reply is a HOST half's answer to an assignment on its control socket.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// MaxMessage bounds an encoded assignment or reply, in bytes.
const MaxMessage = 4096

// Encode returns v in the form that travels.
func Encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode %T: %d bytes, more than %d", v, len(b), MaxMessage)
	}
	return b, nil
}

// PodDir returns the directory of a pod below the agent's state directory.
func PodDir(state, ns, id string) string { return filepath.Join(state, ns, id) }
