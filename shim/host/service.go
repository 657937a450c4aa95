// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/container-offload/offload/shim/wire"
)

// runcRoot is where runc keeps its state unless the caller's options say
// otherwise.
const runcRoot = "/run/offload/runc"

// cleanTimeout bounds how long runc may take to forget a container that could not
// be created.
const cleanTimeout = 10 * time.Second

// service is containerd's runc task service with what a pod of another machine
// needs around it. What it does not redefine is containerd's as it is.
type service struct {
	taskapi.TTRPCTaskService
	half *half
}

// Create makes the container from the spec that came with the request.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	resp, err := s.create(ctx, r)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return resp, nil
}

func (s *service) create(ctx context.Context, r *taskapi.CreateTaskRequest) (_ *taskapi.CreateTaskResponse, err error) {
	o, err := createOptions(r)
	if err != nil {
		return nil, err
	}
	bundle := s.bundle(r.ID)
	if err := os.MkdirAll(filepath.Dir(bundle), 0o711); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if err := os.Mkdir(bundle, 0o711); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	asked := false
	defer func() {
		if err == nil {
			return
		}
		if asked {
			// runc may have been stopped half-way, and only it knows what it has made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
			defer cancel()
			err = errors.Join(err, deleteContainer(ctx, s.half.cfg, bundle, s.half.target.Namespace, r.ID),
				removeCgroups(cgroupsPath(o.Spec)))
		}
		err = errors.Join(err, removeTree(bundle))
	}()
	if err := s.writeSpec(ctx, bundle, o); err != nil {
		return nil, err
	}
	p, err := s.half.stdio.take(ctx, r.ID, "", r.Stdin != "", r.Stdout != "", r.Stderr != "")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.half.stdio.drop(r.ID, "")
		}
	}()
	req := proto.CloneOf(r)
	req.Bundle, req.Stdin, req.Stdout, req.Stderr = bundle, p.stdin.path(), p.stdout.path(), p.stderr.path()
	if req.Options, err = runcOptions(o.RuncOptions, s.half.cfg.Shim.Runc); err != nil {
		return nil, err
	}
	asked = true
	resp, err := s.TTRPCTaskService.Create(ctx, req)
	if err != nil {
		return nil, wire.Native(err)
	}
	p.started(s.closeStdin(r.ID, ""))
	return resp, nil
}

// Exec adds a process and prepares its streams, which Start opens.
func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*ptypes.Empty, error) {
	if err := identifiers.Validate(r.ExecID); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("exec id: %w", err))
	}
	p, err := s.half.stdio.take(ctx, r.ID, r.ExecID, r.Stdin != "", r.Stdout != "", r.Stderr != "")
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	req := proto.CloneOf(r)
	req.Stdin, req.Stdout, req.Stderr = p.stdin.path(), p.stdout.path(), p.stderr.path()
	resp, err := s.TTRPCTaskService.Exec(ctx, req)
	if err != nil {
		s.half.stdio.drop(r.ID, r.ExecID)
	}
	return resp, err
}

// Start runs the container or the added process.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	resp, err := s.TTRPCTaskService.Start(ctx, r)
	if r.ExecID != "" {
		if p := s.half.stdio.get(r.ID, r.ExecID); p != nil {
			p.started(s.closeStdin(r.ID, r.ExecID))
		}
	}
	return resp, err
}

// Delete removes a process, and with the container's own its bundle.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err != nil && status.Code(err) == codes.Unknown {
		// runc failed. It may have been killed, and whoever asks does not ask again: dockerd leaves its task behind.
		resp, err = s.TTRPCTaskService.Delete(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	s.half.stdio.finish(r.ID, r.ExecID)
	if r.ExecID == "" {
		if err := removeTree(s.bundle(r.ID)); err != nil {
			s.half.log.Error("remove bundle", "task", r.ID, "error", err)
		}
	}
	return resp, nil
}

// Shutdown removes the pod once its last container is gone.
func (s *service) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*ptypes.Empty, error) {
	if left, err := os.ReadDir(filepath.Join(s.half.dir, tasksDir)); err == nil && len(left) > 0 {
		return &ptypes.Empty{}, nil
	}
	if err := s.half.clean(); err != nil {
		s.half.log.Error("remove pod", "error", err)
	}
	return s.TTRPCTaskService.Shutdown(ctx, r)
}

// closeStdin returns what to do when the DPU's end of a standard input ends.
func (s *service) closeStdin(id, execID string) func() {
	return func() {
		_, err := s.CloseIO(context.Background(), &taskapi.CloseIORequest{ID: id, ExecID: execID, Stdin: true})
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			s.half.log.Warn("close stdin", "task", id, "exec", execID, "error", err)
		}
	}
}

// tasksDir is the name, in a pod's directory, of the directory of its bundles.
const tasksDir = "tasks"

func (s *service) bundle(id string) string { return filepath.Join(s.half.dir, tasksDir, id) }

// createOptions checks the request and returns what came with it.
func createOptions(r *taskapi.CreateTaskRequest) (*wire.CreateOptions, error) {
	if err := identifiers.Validate(r.ID); err != nil {
		return nil, fmt.Errorf("task id: %w", err)
	}
	v, err := typeurl.UnmarshalAny(r.Options)
	if err != nil {
		return nil, fmt.Errorf("create options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	o, ok := v.(*wire.CreateOptions)
	if !ok {
		return nil, fmt.Errorf("create options of type %q: %w", r.Options.GetTypeUrl(), errdefs.ErrInvalidArgument)
	}
	return o, nil
}

// writeSpec writes the bundle's config.json with every reference resolved.
func (s *service) writeSpec(ctx context.Context, bundle string, o *wire.CreateOptions) error {
	var spec specs.Spec
	if err := json.Unmarshal(o.Spec, &spec); err != nil {
		return fmt.Errorf("decode spec: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if o.Exports {
		if err := s.half.files.mount(ctx); err != nil {
			return fmt.Errorf("mount the DPU's files: %w", err)
		}
	}
	if err := s.half.resolve(ctx, bundle, &spec); err != nil {
		return err
	}
	b, err := json.Marshal(&spec)
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	return nil
}

// runcOptions returns the caller's runc options completed with this machine's.
func runcOptions(b []byte, runc string) (*ptypes.Any, error) {
	var o options.Options
	if err := proto.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("runc options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if o.Root == "" {
		o.Root = runcRoot
	}
	if o.BinaryName == "" {
		o.BinaryName = runc
	}
	a, err := typeurl.MarshalAnyToProto(&o)
	if err != nil {
		return nil, fmt.Errorf("runc options: %w", err)
	}
	return a, nil
}
