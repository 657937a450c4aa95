// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// Bridge is a rule of the socket bridge.
type Bridge struct {
	// Direction is [BridgeConnect] or [BridgeServe].
	Direction string `toml:"direction" json:"direction"`
	// Path is that of a socket, or of a directory with everything below it, on
	// this machine, or @NAME for an abstract socket.
	Path string `toml:"path" json:"path"`
	// PeerPath is what a path to connect to is on the other machine; if it is
	// empty, the same.
	PeerPath string `toml:"peer_path" json:"peer_path,omitempty"`
	// Technique says how programs are led to the other machine: "mirror", also
	// if it is empty, or "hook".
	Technique string `toml:"technique" json:"technique,omitempty"`
	// As says who programs of the other machine are on this one: "same" or
	// UID:GID. If it is empty, "same" on a HOST, and nobody on a DPU.
	As string `toml:"as" json:"as,omitempty"`
}

// What a rule of the bridge is about.
const (
	// BridgeConnect is a path here whose sockets live on the other machine.
	BridgeConnect = "connect"
	// BridgeServe is a path here that programs of the other machine may reach.
	BridgeServe = "serve"
)

// Connect returns the rule if it is of that direction.
func (b Bridge) Connect() (policy.Connect, error) {
	c := policy.Connect{
		Path: b.Path, PeerPath: b.PeerPath, Technique: policy.Technique(cmp.Or(b.Technique, string(policy.Mirror))),
	}
	if b.As != "" {
		return c, fmt.Errorf("as is for direction %q", BridgeServe)
	}
	return c, c.Validate()
}

// Serve returns the rule if it is of that direction. byDefault is who programs of
// the other machine are if the rule does not say.
func (b Bridge) Serve(byDefault policy.Identity) (policy.Serve, error) {
	s := policy.Serve{Path: b.Path, As: byDefault}
	if b.PeerPath != "" || b.Technique != "" {
		return s, fmt.Errorf("peer_path and technique are for direction %q", BridgeConnect)
	}
	if b.As != "" {
		var err error
		if s.As, err = policy.ParseIdentity(b.As); err != nil {
			return s, fmt.Errorf("as: %w", err)
		}
	}
	return s, s.Validate()
}

// BridgeRules returns the rules of a machine, by direction.
func BridgeRules(rules []Bridge, byDefault policy.Identity) (connect []policy.Connect, serve []policy.Serve, err error) {
	for i, r := range rules {
		var err error
		switch r.Direction {
		case BridgeConnect:
			var c policy.Connect
			c, err = r.Connect()
			connect = append(connect, c)
		case BridgeServe:
			var s policy.Serve
			s, err = r.Serve(byDefault)
			serve = append(serve, s)
		default:
			err = fmt.Errorf("direction %q is neither %q nor %q", r.Direction, BridgeConnect, BridgeServe)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("bridge[%d]: %w", i, err)
		}
	}
	return connect, serve, policy.Validate(connect, serve)
}

// bridges reports rules of the bridge that can't work, alone or together.
func (d *document) bridges(rules []Bridge) {
	for i, r := range rules {
		if _, _, err := BridgeRules([]Bridge{r}, policy.Nobody); err != nil {
			d.report(fmt.Sprintf("bridge[%d]", i), "%s", trimIndex(err))
			return
		}
		if _, _, err := BridgeRules(rules[:i+1], policy.Nobody); err != nil {
			d.report(fmt.Sprintf("bridge[%d].path", i), "%v", err)
			return
		}
	}
}

// trimIndex returns the text of an error about a single rule without its index.
func trimIndex(err error) string {
	const index = "bridge[0]: "
	text := err.Error()
	if len(text) > len(index) && text[:len(index)] == index {
		return text[len(index):]
	}
	return text
}
