// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resident keeps small what a process that has nothing to do holds of the
// machine's memory. There is one such process for each pod on either machine, and
// it has nothing to do for most of its life.
//
// Imports the standard library only.
package resident

import (
	"runtime/debug"
	"time"
)

// Idle is after how long without work a pod's processes count as idle: longer than
// most commands take from one call to the next, and than a short container lives.
const Idle = 3 * time.Second

// Keeper gives memory back that was needed for work which is over. The collector
// of a Go program does that by itself only minutes later, and not all of it. It is
// safe for concurrent use.
type Keeper struct {
	after time.Duration
	timer *time.Timer
}

// New returns a keeper that gives memory back once, when there has been no work
// for so long, and again after each further work.
func New(after time.Duration) *Keeper {
	return &Keeper{after, time.AfterFunc(after, debug.FreeOSMemory)}
}

// Worked says that there has been work just now.
func (k *Keeper) Worked() { k.timer.Reset(k.after) }

// Close ends it.
func (k *Keeper) Close() { k.timer.Stop() }
