// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import "slices"

// Status is what a bridge is doing.
type Status struct {
	// Connected says that there is a session with a peer.
	Connected bool `json:"connected"`
	// Joints counts bridged connections and passed descriptors.
	Joints int `json:"joints"`
	// Problem is what went wrong last, such as a descriptor that can't be passed.
	Problem string `json:"problem,omitempty"`
	Rules   []Rule `json:"rules"`
}

// Rule is a rule and what has become of it.
type Rule struct {
	// Direction is "connect" or "serve".
	Direction string `json:"direction"`
	Path      string `json:"path"`
	// PeerPath and Technique are for "connect", As for "serve".
	PeerPath  string `json:"peer_path,omitempty"`
	Technique string `json:"technique,omitempty"`
	As        string `json:"as,omitempty"`
	// Sockets are the peer's sockets that are mirrored here, as paths here.
	Sockets []string `json:"sockets,omitempty"`
	// Problem is why there are fewer than one could expect.
	Problem string `json:"problem,omitempty"`
}

// Status returns what the bridge is doing.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Connected: b.current != nil, Joints: int(b.joints.Load()), Problem: b.problem, Rules: []Rule{}}
	for _, x := range b.connect {
		r := Rule{
			Direction: "connect", Path: x.rule.Path, PeerPath: x.rule.Peer(),
			Technique: string(x.rule.Technique), Problem: x.problem,
		}
		for _, m := range x.mirrors {
			r.Sockets = append(r.Sockets, m.path)
		}
		slices.Sort(r.Sockets)
		s.Rules = append(s.Rules, r)
	}
	for _, r := range b.serve {
		s.Rules = append(s.Rules, Rule{Direction: "serve", Path: r.Path, As: r.As.String()})
	}
	return s
}
