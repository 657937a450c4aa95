// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"
	"sync"
	"time"

	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/container-offload/offload/shim/shadow"
)

// task is what this side holds for one task.
type task struct {
	id     string
	bundle string
	rootfs []*apitypes.Mount
	shadow *shadow.Shadow
	hooks  hooks
	spec   *specs.Spec

	// exited is closed once containerd has been told that the task exited.
	exited     chan struct{}
	exitedOnce sync.Once
	// execExits are the exits of added processes that are yet to be told.
	execExits sync.WaitGroup
	// pendingExits is how many they are, those after the task's own exit included.
	pendingExits int
	// ownExit tells that the HOST has reported the task's own exit.
	ownExit bool

	// created is closed once the HOST has the task, released once it is given up
	// here.
	created, released chan struct{}
	releasedOnce      sync.Once

	// network, if not nil, gives up the task's network.
	network func()

	// undo releases what creating the task acquired, last acquired first.
	undo []func()

	mu    sync.Mutex
	execs map[string]*processIO // by exec id; the task's own has ""
}

func (t *task) pid() uint32 { return uint32(t.shadow.Pid()) }

func newTask(id, bundle string, rootfs []*apitypes.Mount) *task {
	return &task{
		id: id, bundle: bundle, rootfs: rootfs, execs: map[string]*processIO{},
		exited: make(chan struct{}), created: make(chan struct{}), released: make(chan struct{}),
	}
}

// maxPendingExits bounds the exits of a task's processes that wait for output to be
// delivered. Only a HOST that makes them up has more.
const maxPendingExits = 4096

// noteExit counts the exit of an added process in until told is called.
func (t *task) noteExit(execID string) (told func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pendingExits >= maxPendingExits {
		return nil, fmt.Errorf("exit of process %q of task %q, after %d more: %w", localText(execID), t.id, t.pendingExits, errdefs.ErrResourceExhausted)
	}
	t.pendingExits++
	before := !t.ownExit
	if before {
		t.execExits.Add(1)
	}
	return func() {
		t.mu.Lock()
		t.pendingExits--
		t.mu.Unlock()
		if before {
			t.execExits.Done()
		}
	}, nil
}

// noteOwnExit notes that the task has exited, which it does once.
func (t *task) noteOwnExit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ownExit {
		return fmt.Errorf("exit of task %q: %w", t.id, errdefs.ErrAlreadyExists)
	}
	t.ownExit = true
	return nil
}

func (t *task) stdio(execID string) *processIO {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.execs[execID]
}

// delivered waits until a process's output has been delivered; see
// [processIO.delivered].
func (t *task) delivered(ctx context.Context, execID string, e ending) {
	if p := t.stdio(execID); p != nil {
		p.delivered(ctx, e)
	}
}

// addStdio records a process's streams. It reports false if the process has
// some already.
func (t *task) addStdio(execID string, p *processIO) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.execs[execID]; ok {
		return false
	}
	t.execs[execID] = p
	return true
}

// closeStdio ends a process's streams after what is in them has been delivered.
func (t *task) closeStdio(ctx context.Context, execID string) {
	t.mu.Lock()
	p := t.execs[execID]
	delete(t.execs, execID)
	t.mu.Unlock()
	if p != nil {
		p.drain(ctx)
	}
}

// joinedNetwork records how the task leaves its network.
func (t *task) joinedNetwork(leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.network = leave
}

// leaveNetwork gives up the task's network, if it has one.
func (t *task) leaveNetwork() {
	t.mu.Lock()
	leave := t.network
	t.network = nil
	t.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// endShadow ends the shadow of a task that has exited: whoever learns of the exit
// must not find the pid alive.
func (t *task) endShadow() {
	t.leaveNetwork()
	t.shadow.Stop()
}

// exitTimeout bounds how long Delete waits for the task's exit event, which
// travels beside the answers to requests and may wait for output.
const exitTimeout = patiently*tick + 2*time.Second

func (t *task) awaitExitEvent(ctx context.Context) {
	timer := time.NewTimer(exitTimeout)
	defer timer.Stop()
	select {
	case <-t.exited:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// exitPublished records that the task's exit event has been published.
func (t *task) exitPublished() { t.exitedOnce.Do(func() { close(t.exited) }) }

// state is the task in the form that OCI hooks read.
func (t *task) state(status specs.ContainerState) specs.State {
	return specs.State{
		Version: specs.Version, ID: t.id, Status: status, Pid: t.shadow.Pid(),
		Bundle: t.bundle, Annotations: t.spec.Annotations,
	}
}

// release gives back all that the task holds on this side.
func (t *task) release() {
	t.mu.Lock()
	execs := t.execs
	t.execs = map[string]*processIO{}
	undo := t.undo
	t.undo = nil
	t.mu.Unlock()
	t.releasedOnce.Do(func() { close(t.released) })
	for _, p := range execs {
		p.abort()
	}
	t.leaveNetwork()
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
}
