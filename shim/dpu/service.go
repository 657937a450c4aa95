// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	eventstypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"

	"github.com/container-offload/offload/shim/shadow"
)

// Service answers the task API of one pod. Its methods may be called
// concurrently.
type Service struct {
	ns, shimID string
	log        *slog.Logger
	publisher  shim.Publisher
	shutdown   shutdown.Service
	host       *host
	files      *exports
	shadows    shadow.Registry
	networks   *networks
	tasks      tasks
}

var _ taskapi.TTRPCTaskService = (*Service)(nil)

// Options are what a [Service] is made of.
type Options struct {
	// Namespace is containerd's namespace, ShimID the pod's id.
	Namespace, ShimID string
	Publisher         shim.Publisher
	Shutdown          shutdown.Service
	Logger            *slog.Logger
}

// New returns the service and begins to connect to the HOST, so that a
// connection is there by the time the first task is created. A configuration
// that is wrong or a HOST that can't be reached is reported by Create, where
// the user sees it.
func New(ctx context.Context, o Options) *Service {
	s := &Service{
		ns: o.Namespace, shimID: o.ShimID, log: o.Logger, publisher: o.Publisher, shutdown: o.Shutdown,
		files: newExports(o.Logger),
	}
	s.networks = newNetworks(s)
	s.host = connect(ctx, s)
	o.Shutdown.RegisterCallback(func(context.Context) error { s.close(); return nil })
	return s
}

// RegisterTTRPC offers the service on containerd's connection.
func (s *Service) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(server, s)
	return nil
}

func (s *Service) close() {
	for _, t := range s.tasks.close() {
		t.release()
	}
	s.host.close()
}

// task returns the task with the given id or errdefs.ErrNotFound.
func (s *Service) task(id string) (*task, error) {
	t, err := s.tasks.get(id)
	return t, errgrpc.ToGRPC(err)
}

// forward passes a request for an existing task on to the HOST half.
func forward[Req interface{ GetID() string }, Resp any](ctx context.Context, s *Service, r Req,
	call func(taskapi.TTRPCTaskService, context.Context, Req) (Resp, error)) (resp Resp, t *task, err error) {
	if t, err = s.task(r.GetID()); err != nil {
		return resp, nil, err
	}
	client, err := s.host.tasks(ctx)
	if err != nil {
		return resp, t, errgrpc.ToGRPC(err)
	}
	if resp, err = call(client, ctx, r); err != nil {
		return resp, t, s.host.explain(err)
	}
	return resp, t, nil
}

// Start runs the task, or a process added to it.
func (s *Service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	if r.ExecID == "" {
		t, err := s.task(r.ID)
		if err != nil {
			return nil, err
		}
		if err := s.networks.join(ctx, t); err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("start task %q: %w", r.ID, err))
		}
	}
	resp, t, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Start)
	if err != nil {
		return nil, err
	}
	if r.ExecID != "" {
		return &taskapi.StartResponse{Pid: resp.GetPid()}, nil
	}
	if err := t.hooks.run(ctx, poststart, t.state("running")); err != nil {
		s.log.Warn("poststart hook failed", "task", r.ID, "error", err)
	}
	return &taskapi.StartResponse{Pid: t.pid()}, nil
}

// Delete removes a stopped task or process.
func (s *Service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, t, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Delete)
	if err != nil {
		return nil, err
	}
	// The HOST has written all there was: what is left is on its way here.
	t.closeStdio(ctx, r.ExecID)
	out := &taskapi.DeleteResponse{Pid: resp.GetPid(), ExitStatus: exitStatus(resp.GetExitStatus()), ExitedAt: exitTime(resp.GetExitedAt())}
	if r.ExecID != "" {
		return out, nil
	}
	out.Pid = t.pid()
	if err := t.hooks.run(ctx, poststop, t.state("stopped")); err != nil {
		s.log.Warn("poststop hook failed", "task", r.ID, "error", err)
	}
	t.awaitExitEvent(ctx)
	s.publish(ctx, &eventstypes.TaskDelete{
		ContainerID: r.ID, ID: r.ID, Pid: out.Pid, ExitStatus: out.ExitStatus, ExitedAt: out.ExitedAt,
	})
	s.tasks.remove(r.ID)
	t.release()
	markDeleted(t.bundle)
	return out, nil
}

// State returns a process's state in the DPU's terms.
func (s *Service) State(ctx context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	resp, t, err := forward(ctx, s, r, taskapi.TTRPCTaskService.State)
	if err != nil {
		return nil, err
	}
	out := &taskapi.StateResponse{
		ID: r.ID, ExecID: r.ExecID, Bundle: t.bundle, Pid: resp.GetPid(), Status: resp.GetStatus(),
		ExitStatus: exitStatus(resp.GetExitStatus()), ExitedAt: exitTime(resp.GetExitedAt()),
	}
	if r.ExecID == "" {
		out.Pid = t.pid()
	} else {
		out.ID = r.ExecID
	}
	if io := t.stdio(r.ExecID); io != nil {
		out.Stdin, out.Stdout, out.Stderr, out.Terminal = io.stdin, io.stdout, io.stderr, io.terminal
	}
	return out, nil
}

// Pause freezes the task.
func (s *Service) Pause(ctx context.Context, r *taskapi.PauseRequest) (*ptypes.Empty, error) {
	_, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Pause)
	return empty(err)
}

// Resume thaws the task.
func (s *Service) Resume(ctx context.Context, r *taskapi.ResumeRequest) (*ptypes.Empty, error) {
	_, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Resume)
	return empty(err)
}

// Kill sends a signal to a process or to all of the task's.
func (s *Service) Kill(ctx context.Context, r *taskapi.KillRequest) (*ptypes.Empty, error) {
	_, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Kill)
	return empty(err)
}

// ResizePty sets the size of a process's terminal.
func (s *Service) ResizePty(ctx context.Context, r *taskapi.ResizePtyRequest) (*ptypes.Empty, error) {
	_, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.ResizePty)
	return empty(err)
}

// Update changes the task's resource limits.
func (s *Service) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*ptypes.Empty, error) {
	_, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Update)
	return empty(err)
}

// CloseIO closes a process's standard input. Nothing crosses the link for it:
// the end of the stream follows the bytes before it.
func (s *Service) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*ptypes.Empty, error) {
	t, err := s.task(r.ID)
	if err != nil {
		return nil, err
	}
	io := t.stdio(r.ExecID)
	if io == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("process %q of task %q: %w", r.ExecID, r.ID, errdefs.ErrNotFound))
	}
	if r.Stdin {
		io.closeStdin()
	}
	return &ptypes.Empty{}, nil
}

// Pids returns the process ids that the task has on the HOST.
func (s *Service) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	resp, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Pids)
	if err != nil {
		return nil, err
	}
	if err := checkPids(resp); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return resp, nil
}

// Wait blocks until a process has exited.
func (s *Service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	resp, t, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Wait)
	if err != nil {
		return nil, err
	}
	t.delivered(ctx, r.ExecID, s.ending(t, r.ExecID, resp.GetExitStatus()))
	if r.ExecID == "" {
		t.endShadow()
	}
	return &taskapi.WaitResponse{ExitStatus: exitStatus(resp.GetExitStatus()), ExitedAt: exitTime(resp.GetExitedAt())}, nil
}

// Stats returns the task's cgroup metrics as the HOST has them.
func (s *Service) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	resp, _, err := forward(ctx, s, r, taskapi.TTRPCTaskService.Stats)
	if err != nil {
		return nil, err
	}
	stats, err := localMetrics(resp.GetStats())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &taskapi.StatsResponse{Stats: stats}, nil
}

// Connect returns the process ids of this shim and of the task's shadow.
func (s *Service) Connect(_ context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	resp := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid())}
	if t, err := s.task(r.ID); err == nil {
		resp.TaskPid = t.pid()
	}
	return resp, nil
}

// Shutdown ends both halves once no task is left.
func (s *Service) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*ptypes.Empty, error) {
	if s.tasks.count() > 0 {
		return &ptypes.Empty{}, nil
	}
	if client, err := s.host.tasks(ctx); err == nil {
		// The HOST half closes the session, maybe before its answer arrives.
		s.host.closing.Store(true)
		if _, err := client.Shutdown(ctx, r); err != nil && !errors.Is(err, ttrpc.ErrClosed) {
			s.log.Warn("HOST half did not shut down", "error", err)
		}
	}
	s.shutdown.Shutdown()
	return &ptypes.Empty{}, nil
}

func empty(err error) (*ptypes.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &ptypes.Empty{}, nil
}
