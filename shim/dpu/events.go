// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"

	eventstypes "github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

// eventForwarder takes the HOST half's events and publishes those that are
// about this pod, in the DPU's terms.
type eventForwarder struct{ s *Service }

// Forward publishes one event. What the HOST says beside the event's own
// fields (its topic, its containerd namespace) is not used.
func (f *eventForwarder) Forward(ctx context.Context, r *eventsapi.ForwardRequest) (*ptypes.Empty, error) {
	ev, err := decodeEvent(r.GetEnvelope().GetEvent())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if _, ok := ev.(*eventstypes.TaskDelete); ok {
		// Delete publishes it, after all others. The task may be gone here already.
		return &ptypes.Empty{}, nil
	}
	t, err := f.s.localise(ev)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if e, ok := ev.(*eventstypes.TaskExit); ok {
		// Output may take its time to be read, and other events don't wait.
		publish, err := f.s.exits(t, e)
		if err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
		go publish(func() { f.s.publish(ctx, ev) })
		return &ptypes.Empty{}, nil
	}
	f.s.publish(ctx, ev)
	return &ptypes.Empty{}, nil
}

// exits notes that a process has exited and returns how to publish that: when
// its output has been delivered, and the task's own exit after those of the
// processes that exited before. It fails for an exit that can't be.
func (s *Service) exits(t *task, e *eventstypes.TaskExit) (publish func(do func()), err error) {
	if e.ID != e.ContainerID {
		told, err := t.noteExit(e.ID)
		if err != nil {
			return nil, err
		}
		return func(do func()) {
			defer told()
			t.delivered(context.Background(), e.ID, s.ending(t, e.ID, e.ExitStatus))
			do()
		}, nil
	}
	if err := t.noteOwnExit(); err != nil {
		return nil, err
	}
	return func(do func()) {
		defer t.exitPublished()
		t.delivered(context.Background(), "", s.ending(t, "", e.ExitStatus))
		t.execExits.Wait()
		t.endShadow()
		do()
	}, nil
}

// publish hands an event to containerd.
func (s *Service) publish(ctx context.Context, ev any) {
	ctx = namespaces.WithNamespace(context.WithoutCancel(ctx), s.ns)
	if err := s.publisher.Publish(ctx, runtime.GetTopic(ev), ev); err != nil {
		// The publisher has queued it and tries again.
		s.log.Warn("publish event", "error", err)
	}
}

// decodeEvent returns the event if it is of a kind that a shim publishes.
func decodeEvent(a *anypb.Any) (any, error) {
	v, err := typeurl.UnmarshalAny(a)
	if err != nil {
		return nil, fmt.Errorf("event of the HOST: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	switch v.(type) {
	case *eventstypes.TaskCreate, *eventstypes.TaskStart, *eventstypes.TaskExit, *eventstypes.TaskDelete,
		*eventstypes.TaskExecAdded, *eventstypes.TaskExecStarted, *eventstypes.TaskPaused, *eventstypes.TaskResumed,
		*eventstypes.TaskOOM, *eventstypes.TaskCheckpointed:
		return v, nil
	}
	return nil, fmt.Errorf("event of the HOST: unexpected type %q: %w", a.GetTypeUrl(), errdefs.ErrInvalidArgument)
}

// localise checks that ev is about one of this pod's tasks and replaces what
// only the HOST knows by what the DPU knows.
func (s *Service) localise(ev any) (*task, error) {
	id := ev.(interface{ GetContainerID() string }).GetContainerID()
	t, err := s.task(id)
	if err != nil {
		return nil, fmt.Errorf("event of the HOST for %q, which is no task of this shim: %w", id, errdefs.ErrPermissionDenied)
	}
	switch e := ev.(type) {
	case *eventstypes.TaskCreate:
		e.Bundle, e.Rootfs, e.Pid = t.bundle, t.rootfs, t.pid()
		e.IO = &eventstypes.TaskIO{}
		if io := t.stdio(""); io != nil {
			e.IO = &eventstypes.TaskIO{Stdin: io.stdin, Stdout: io.stdout, Stderr: io.stderr, Terminal: io.terminal}
		}
	case *eventstypes.TaskStart:
		e.Pid = t.pid()
	case *eventstypes.TaskExit:
		e.ExitStatus, e.ExitedAt = exitStatus(e.ExitStatus), exitTime(e.ExitedAt)
		if e.ID == id {
			e.Pid = t.pid()
		}
	}
	return t, nil
}
