// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// Lie is what the liar does not pass on as it is. Its functions may be called
// concurrently; those that are nil change nothing.
type Lie struct {
	// Ask sees each call before it is passed on, and tells whether it is.
	Ask func(*Call) bool
	// Answer sees each answer to a call, may change it, and tells whether it is
	// passed on.
	Answer func(*Call) bool
	// File sees each answer about a file, and tells whether it has changed it.
	File func(*Question) bool
	// Take sees each stream that the DPU opens, and tells whether it has taken it
	// over.
	Take func(*Pair, *session.Stream) bool
	// Admit tells whether a connection is taken at all.
	Admit func(link.Target) bool
}

// Tell has the liar tell a lie, instead of the one it told, until it is told
// another. nil is the truth.
func (v *Liar) Tell(lie *Lie) { v.lie.Store(lie) }

func (v *Liar) current() *Lie {
	if lie := v.lie.Load(); lie != nil {
		return lie
	}
	return &Lie{}
}

func (l *Lie) takes(p *Pair, st *session.Stream) bool { return l.Take != nil && l.Take(p, st) }

func (l *Lie) admits(t link.Target) bool { return l.Admit == nil || l.Admit(t) }
