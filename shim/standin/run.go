// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/dpu"
)

// Runtime runs commands. Root is the directory of the containers' states.
type Runtime struct {
	Root   string
	Logger *slog.Logger
}

// RunOptions are those of "runc run".
type RunOptions struct {
	Bundle  string
	PidFile string
	// Keep leaves the state behind until "delete".
	Keep bool
}

// cleanTimeout bounds the removal of a container when the caller has given up.
const cleanTimeout = 30 * time.Second

// Run runs a container and returns its exit status once it has ended and all its
// output has been delivered.
func (r *Runtime) Run(ctx context.Context, id string, o RunOptions) (status int, err error) {
	st := states{r.Root}
	r.sweep(ctx, st)
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return 0, fmt.Errorf("bundle %s: %w", o.Bundle, err)
	}
	spec, err := readSpec(bundle)
	if err != nil {
		return 0, err
	}
	dir, lock, err := st.claim(id)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	defer func() {
		if !o.Keep || err != nil {
			err = errors.Join(err, st.remove(id))
		}
	}()
	ctx, half, end := r.newHalf(ctx, id)
	defer end()
	stop, err := serve(ctx, half, filepath.Join(dir, socketName))
	if err != nil {
		return 0, err
	}
	defer stop()
	streams, err := newStdio(dir, spec.Process != nil && spec.Process.Terminal)
	if err != nil {
		return 0, err
	}
	defer streams.finish()
	if err := streams.start(); err != nil {
		return 0, err
	}
	created, err := half.Create(ctx, &taskapi.CreateTaskRequest{
		ID: id, Bundle: bundle, Terminal: streams.terminal,
		Stdin: streams.stdin, Stdout: streams.stdout, Stderr: streams.stderr,
	})
	if err != nil {
		return 0, fmt.Errorf("create container %q: %w", id, errgrpc.ToNative(err))
	}
	defer func() {
		_, delErr := half.Delete(context.WithoutCancel(ctx), &taskapi.DeleteRequest{ID: id})
		if delErr != nil {
			err = errors.Join(err, fmt.Errorf("delete container %q: %w", id, errgrpc.ToNative(delErr)))
		}
	}()
	rec := record{ID: id, Bundle: bundle, Rootfs: rootfs(bundle, spec), Pid: int(created.GetPid()), Created: time.Now()}
	if err := errors.Join(st.write(rec), writePid(o.PidFile, rec.Pid)); err != nil {
		return 0, err
	}
	return follow(ctx, half, streams, id, "")
}

// follow starts a process that has been created and waits for its end.
func follow(ctx context.Context, tasks taskapi.TTRPCTaskService, streams *stdio, id, execID string) (int, error) {
	if _, err := tasks.Start(ctx, &taskapi.StartRequest{ID: id, ExecID: execID}); err != nil {
		return 0, fmt.Errorf("start container %q: %w", id, errgrpc.ToNative(err))
	}
	err := streams.startInput(func() {
		_, _ = tasks.CloseIO(ctx, &taskapi.CloseIORequest{ID: id, ExecID: execID, Stdin: true})
	})
	if err != nil {
		return 0, err
	}
	stop := streams.forwardSignals(ctx,
		func(ctx context.Context, sig unix.Signal) {
			_, _ = tasks.Kill(ctx, &taskapi.KillRequest{ID: id, ExecID: execID, Signal: uint32(sig)})
		},
		func(ctx context.Context, width, height uint32) {
			_, _ = tasks.ResizePty(ctx, &taskapi.ResizePtyRequest{ID: id, ExecID: execID, Width: width, Height: height})
		})
	defer stop()
	resp, err := tasks.Wait(ctx, &taskapi.WaitRequest{ID: id, ExecID: execID})
	if err != nil {
		return 0, fmt.Errorf("wait for container %q: %w", id, errgrpc.ToNative(err))
	}
	return int(resp.GetExitStatus()), nil
}

// newHalf makes the DPU half of one container. end gives back all it holds.
func (r *Runtime) newHalf(ctx context.Context, id string) (_ context.Context, half *dpu.Service, end func()) {
	ctx, sd := shutdown.WithShutdown(namespaces.WithNamespace(ctx, Namespace))
	half = dpu.New(ctx, dpu.Options{
		Namespace: Namespace, ShimID: id, Publisher: silent{}, Shutdown: sd, Logger: r.Logger,
	})
	return ctx, half, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		if _, err := half.Shutdown(ctx, &taskapi.ShutdownRequest{ID: id}); err != nil {
			r.Logger.Warn("shut down", "container", id, "error", err)
		}
		sd.Shutdown()
		select {
		case <-sd.Done():
		case <-ctx.Done():
		}
	}
}

// silent is where events go that nobody is interested in.
type silent struct{}

func (silent) Publish(context.Context, string, events.Event) error { return nil }
func (silent) Close() error                                        { return nil }

// serve answers the other commands.
func serve(ctx context.Context, half *dpu.Service, path string) (stop func(), err error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("serve commands: %w", err)
	}
	if err := half.RegisterTTRPC(server); err != nil {
		l.Close()
		return nil, fmt.Errorf("serve commands: %w", err)
	}
	go func() { _ = server.Serve(ctx, l) }()
	return func() { server.Close() }, nil
}

// sweep removes what killed "run" commands have left on both machines.
func (r *Runtime) sweep(ctx context.Context, st states) {
	ids, err := st.list()
	if err != nil {
		r.Logger.Warn("look for containers that were left", "error", err)
	}
	for _, id := range ids {
		if st.owned(id) || r.finished(st, id) {
			continue
		}
		if err := r.remove(ctx, st, id); err != nil {
			r.Logger.Warn("remove a container that was left", "container", id, "error", err)
		}
	}
}

// finished tells whether a container ended in the ordinary way and is kept.
func (r *Runtime) finished(st states, id string) bool {
	_, err := os.Stat(filepath.Join(st.root, id, socketName))
	return errors.Is(err, os.ErrNotExist)
}

func (r *Runtime) remove(ctx context.Context, st states, id string) error {
	if !r.finished(st, id) {
		bundle := ""
		if rec, err := st.read(id); err == nil {
			bundle = rec.Bundle
		}
		if _, err := dpu.DeleteOnHost(ctx, Namespace, id, bundle); err != nil {
			return err
		}
	}
	return st.remove(id)
}

func readSpec(bundle string) (*specs.Spec, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read container spec: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, fmt.Errorf("read container spec of %s: %w", bundle, err)
	}
	return &spec, nil
}

func rootfs(bundle string, spec *specs.Spec) string {
	switch {
	case spec.Root == nil:
		return ""
	case filepath.IsAbs(spec.Root.Path):
		return spec.Root.Path
	}
	return filepath.Join(bundle, spec.Root.Path)
}

// writePid writes a pid file whole, as runc does; whoever sees it can read it.
func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path+".tmp", []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}
