// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/mount"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"

	"github.com/container-offload/offload/shim/pathrule"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// Create makes a task: its shadow here, its container on the HOST.
func (s *Service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	if err := s.tasks.reserve(r.ID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	t, err := s.create(ctx, r)
	if err != nil {
		s.tasks.remove(r.ID)
		return nil, errgrpc.ToGRPC(err)
	}
	return &taskapi.CreateTaskResponse{Pid: t.pid()}, nil
}

func (s *Service) create(ctx context.Context, r *taskapi.CreateTaskRequest) (_ *task, err error) {
	t := newTask(r.ID, r.Bundle, r.Rootfs)
	defer func() {
		if err != nil {
			t.release()
		}
	}()
	if err := s.host.configured(); err != nil {
		return nil, err
	}
	spec, err := readSpec(r.Bundle)
	if err != nil {
		return nil, err
	}
	runcOptions, err := runcOptions(r.Options, spec)
	if err != nil {
		return nil, err
	}
	t.spec = spec
	if t.hooks, err = takeHooks(spec); err != nil {
		return nil, err
	}
	if err := s.startShadow(t); err != nil {
		return nil, err
	}
	req, err := s.translate(t, r, runcOptions)
	if err != nil {
		return nil, err
	}
	sess, err := s.host.session(ctx)
	if err != nil {
		return nil, err
	}
	p := &processIO{stdin: r.Stdin, stdout: r.Stdout, stderr: r.Stderr, terminal: r.Terminal}
	if err := s.openStdio(ctx, sess, t, "", p); err != nil {
		return nil, err
	}
	// Events about the task may arrive before the response does.
	if err := s.tasks.add(t); err != nil {
		return nil, err
	}
	if _, err := s.host.task.Create(ctx, req); err != nil {
		return nil, s.host.explain(err)
	}
	close(t.created)
	if err := t.hooks.run(ctx, createRuntime, t.state(specs.StateCreating)); err != nil {
		_, delErr := s.host.task.Delete(context.WithoutCancel(ctx), &taskapi.DeleteRequest{ID: r.ID})
		if delErr != nil {
			s.log.Warn("delete task after its hook failed", "task", r.ID, "error", delErr)
		}
		return nil, err
	}
	return t, nil
}

// Exec adds a process to a task.
func (s *Service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*ptypes.Empty, error) {
	t, err := s.task(r.ID)
	if err != nil {
		return nil, err
	}
	sess, err := s.host.session(ctx)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	p := &processIO{stdin: r.Stdin, stdout: r.Stdout, stderr: r.Stderr, terminal: r.Terminal}
	if err := s.openStdio(ctx, sess, t, r.ExecID, p); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	req := proto.CloneOf(r)
	req.Stdin, req.Stdout, req.Stderr = wanted(r.Stdin), wanted(r.Stdout), wanted(r.Stderr)
	if _, err := s.host.task.Exec(ctx, req); err != nil {
		t.closeStdio(ctx, r.ExecID)
		return nil, s.host.explain(err)
	}
	return &ptypes.Empty{}, nil
}

// openStdio opens a process's streams and records them with the task.
func (s *Service) openStdio(ctx context.Context, sess *session.Session, t *task, execID string, p *processIO) error {
	if !t.addStdio(execID, p) {
		return fmt.Errorf("process %q of task %q: %w", execID, t.id, errdefs.ErrAlreadyExists)
	}
	err := openStdio(p, t.id, execID, func(h wire.StdioHeader) (stream, error) {
		return sess.Open(ctx, wire.ServiceStdio, h.Encode())
	})
	if err != nil {
		t.closeStdio(ctx, execID)
		return fmt.Errorf("connect process %q of task %q: %w", execID, t.id, err)
	}
	return nil
}

// wanted tells the HOST half that a standard stream is wanted, not where it
// ends on the DPU.
func wanted(path string) string {
	if path == "" {
		return ""
	}
	return wire.ServiceStdio
}

func (s *Service) startShadow(t *task) error {
	namespaces, own := shadowNamespaces(t.spec)
	sh, err := shadow.Start("offload-shadow "+s.ns+"/"+t.id, namespaces)
	if err != nil {
		return fmt.Errorf("task %q: %w", t.id, err)
	}
	t.shadow = sh
	t.undo = append(t.undo, sh.Stop)
	go s.passKillOn(t)
	if err := shareSysctls(t); err != nil {
		s.log.Debug("share sysctls with the shadow", "task", t.id, "error", err)
	}
	forget, err := s.shadows.Add(shadow.Entry{Namespace: s.ns, Shim: s.shimID, ID: t.id}, sh, own)
	if err != nil {
		return err
	}
	t.undo = append(t.undo, forget)
	return nil
}

// passKillOn kills the task as somebody on the DPU kills its shadow, whose pid is
// the task's here.
func (s *Service) passKillOn(t *task) {
	signal := t.shadow.AwaitKill()
	if signal == 0 {
		return
	}
	select {
	case <-t.created:
	case <-t.released:
		return
	}
	_, err := s.host.task.Kill(context.Background(), &taskapi.KillRequest{ID: t.id, Signal: uint32(signal)})
	if err != nil && !errdefs.IsNotFound(wire.Native(err)) {
		s.log.Warn("pass a signal on to the task", "task", t.id, "signal", signal, "error", err)
	}
}

// translate returns the request as the HOST half gets it.
func (s *Service) translate(t *task, r *taskapi.CreateTaskRequest, runcOptions []byte) (*taskapi.CreateTaskRequest, error) {
	exported := false
	var found []pathrule.Place
	defer func() {
		for _, p := range found {
			p.Close()
		}
	}()
	tr := &translation{
		bundle: r.Bundle,
		resolve: func(path string) (pathrule.Place, error) {
			p, err := pathrule.Resolve(path)
			if err == nil {
				found = append(found, p)
			}
			return p, err
		},
		export: func(p pathrule.Place, below bool) (wire.Ref, error) {
			ref, remove, err := s.files.add(p, below)
			if err != nil {
				return "", err
			}
			t.undo = append(t.undo, remove)
			if _, ok := ref.Export(); ok {
				exported = true
			}
			return ref, nil
		},
		owner: s.shadows.FindNamespace,
		own:   isOwnNamespace,
		size:  sizeOf,
	}
	spec := cloneSpec(t.spec)
	if err := tr.spec(spec); err != nil {
		return nil, err
	}
	rootfs, err := s.root(tr, t, spec, r)
	if err != nil {
		return nil, fmt.Errorf("root file system: %w", err)
	}
	out := &taskapi.CreateTaskRequest{
		ID: r.ID, Rootfs: rootfs, Terminal: r.Terminal,
		Stdin: wanted(r.Stdin), Stdout: wanted(r.Stdout), Stderr: wanted(r.Stderr),
	}
	if r.Checkpoint != "" {
		return nil, fmt.Errorf("restore task %q from a checkpoint: %w", r.ID, errdefs.ErrNotImplemented)
	}
	o := wire.CreateOptions{RuncOptions: runcOptions, Exports: exported}
	if o.Spec, err = json.Marshal(spec); err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	if out.Options, err = typeurl.MarshalAnyToProto(&o); err != nil {
		return nil, fmt.Errorf("encode create options: %w", err)
	}
	return out, nil
}

// root translates the root file system. One that lies on the HOST is used there
// as it is; any other is mounted here and exported.
func (s *Service) root(tr *translation, t *task, spec *specs.Spec, r *taskapi.CreateTaskRequest) ([]*apitypes.Mount, error) {
	if spec.Root == nil {
		spec.Root = &specs.Root{Path: "rootfs"}
	}
	path := spec.Root.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.Bundle, path)
	}
	if len(r.Rootfs) > 0 {
		host, err := hostMount(tr, r.Rootfs)
		if err != nil {
			return nil, err
		}
		if host != nil && !slices.Contains(host.Options, "ro") {
			spec.Root.Path = host.Source
			return nil, nil
		}
		if host != nil {
			spec.Root.Path = "rootfs"
			return []*apitypes.Mount{host}, nil
		}
		path = filepath.Join(r.Bundle, "rootfs")
		if err := mountHere(t, r.Rootfs, path); err != nil {
			return nil, err
		}
	}
	to, err := tr.path(path)
	if err != nil {
		return nil, err
	}
	spec.Root.Path = to
	return nil, nil
}

// hostMount returns the one bind mount of a HOST path that mounts consist of,
// translated, or nil if they are something else.
func hostMount(tr *translation, mounts []*apitypes.Mount) (*apitypes.Mount, error) {
	if len(mounts) != 1 || mounts[0].Type != "bind" {
		return nil, nil
	}
	place, err := tr.resolve(mounts[0].Source)
	if err != nil {
		return nil, err
	}
	if place.Host == "" {
		return nil, nil
	}
	return &apitypes.Mount{Type: "bind", Source: place.Host, Options: mounts[0].Options}, nil
}

func mountHere(t *task, rootfs []*apitypes.Mount, path string) error {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return err
	}
	var mounts []mount.Mount
	for _, m := range rootfs {
		mounts = append(mounts, mount.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	t.undo = append(t.undo, func() { _ = mount.UnmountMounts(mounts, path, 0) })
	if err := mount.All(mounts, path); err != nil {
		return fmt.Errorf("mount at %s: %w", path, err)
	}
	return nil
}

// runcOptions returns the runc options in a, marshalled. It fails for options
// of another kind rather than leave them out.
func runcOptions(a interface {
	GetTypeUrl() string
	GetValue() []byte
}, spec *specs.Spec) ([]byte, error) {
	if len(a.GetValue()) == 0 {
		if !namesSystemdUnit(spec) {
			return nil, nil
		}
		return marshalOptions(&options.Options{SystemdCgroup: true})
	}
	v, err := typeurl.UnmarshalAny(a)
	if err != nil {
		return nil, fmt.Errorf("runtime options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	o, ok := v.(*options.Options)
	if !ok {
		return nil, fmt.Errorf("runtime options of type %q, want %s: %w", a.GetTypeUrl(), "containerd.runc.v1.Options", errdefs.ErrInvalidArgument)
	}
	if filepath.Base(o.BinaryName) == standIn {
		// What it stands in for is the HOST's runc, with a root directory of the
		// HOST's.
		o.BinaryName, o.Root = "", ""
	}
	return marshalOptions(o)
}

// standIn is the name of the program by which the DPU asks for the HOST's runc. A
// caller who takes the shim for runc's gives it as the runtime to use.
const standIn = "offload-runc"

func marshalOptions(o *options.Options) ([]byte, error) {
	b, err := proto.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode runtime options: %w", err)
	}
	return b, nil
}

func readSpec(bundle string) (*specs.Spec, error) {
	path := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read container spec: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, fmt.Errorf("read container spec %s: %w", path, err)
	}
	return &spec, nil
}

// cloneSpec copies what translation changes; the rest is shared.
func cloneSpec(in *specs.Spec) *specs.Spec {
	out := *in
	out.Mounts = slices.Clone(in.Mounts)
	if in.Root != nil {
		root := *in.Root
		out.Root = &root
	}
	if in.Linux != nil {
		linux := *in.Linux
		linux.Namespaces = slices.Clone(in.Linux.Namespaces)
		out.Linux = &linux
	}
	return &out
}

// Checkpoint is not offered: its image would have to be written on the HOST by
// a criu that knows the container's exports.
func (s *Service) Checkpoint(_ context.Context, r *taskapi.CheckpointTaskRequest) (*ptypes.Empty, error) {
	return nil, errgrpc.ToGRPC(fmt.Errorf("checkpoint task %q: %w", r.ID, errdefs.ErrNotImplemented))
}
