// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// tick is how often it is looked whether output moves. Ticks are counted, not
	// time: where they come late, because the machine is busy, so does the output.
	tick = 200 * time.Millisecond
	// briefly is for how many ticks nothing may move when the output need not
	// end, and patiently when it will. A client that has been told of the end
	// waits two seconds more for the output, and then drops the rest.
	briefly   = 5
	patiently = 50
	// deliverTimeout bounds how long an end is held back in any case.
	deliverTimeout = time.Minute
)

// ending is how a process ended, as far as it matters for the output that is
// still on its way.
type ending struct {
	// last tells that no other process can hold the output open: the process was
	// the first in its pid namespace.
	last bool
	// killed tells that a signal ended it.
	killed bool
	// ask, if not nil, makes sure that the HOST answers.
	ask func(context.Context)
}

// patience returns for how many ticks nothing of the output may move before the
// end is told without it. writing tells that it is the reader who is waited for.
func (e ending) patience(writing bool) int {
	switch {
	case writing && e.killed:
		// Whoever killed it may have done so because nobody reads.
		return briefly
	case writing:
		// Next to its reader the process would have been held back, not ended:
		// what is on the way is more than a pipe takes.
		return patiently
	case e.last:
		return patiently
	}
	return briefly
}

// delivered waits until the process's output has been, as far as somebody reads
// it. A client takes the end of a process for the end of its output too and
// closes the FIFOs, but between the process and these there is a link.
func (p *processIO) delivered(ctx context.Context, e ending) {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, still := p.moved.Load(), 0
	for {
		select {
		case <-p.finished:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := p.moved.Load()
		if still++; now != last {
			last, still = now, 0
		}
		if still < e.patience(p.writing.Load() > 0) {
			continue
		}
		if e.ask == nil {
			return
		}
		// Maybe a child has the output open, maybe the link or the HOST is slow.
		e.ask(ctx)
		e.ask = nil
	}
}

// ending returns how a process of the task ended, which is all of the task for
// no execID.
func (s *Service) ending(t *task, execID string, status uint32) ending {
	e := ending{killed: status > 128, last: execID == "" && ownPIDs(t.spec)}
	if !e.last {
		e.ask = func(ctx context.Context) {
			if client, err := s.host.tasks(ctx); err == nil {
				// That there was an answer is all that matters.
				_, _ = client.State(ctx, &taskapi.StateRequest{ID: t.id})
			}
		}
	}
	return e
}

// ownPIDs tells whether all processes of a container end with its first.
func ownPIDs(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}
