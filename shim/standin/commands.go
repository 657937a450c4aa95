// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/container-offload/offload/shim/dpu"
	"github.com/container-offload/offload/shim/shadow"
)

// State is what "runc state" and "runc list" print of a container.
type State struct {
	Version string    `json:"ociVersion"`
	ID      string    `json:"id"`
	Pid     int       `json:"pid"`
	Status  string    `json:"status"`
	Bundle  string    `json:"bundle"`
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
}

// statuses are runc's words for the states of a task.
var statuses = map[tasktypes.Status]string{
	tasktypes.Status_CREATED: "created",
	tasktypes.Status_RUNNING: "running",
	tasktypes.Status_PAUSED:  "paused",
	tasktypes.Status_PAUSING: "paused",
	tasktypes.Status_STOPPED: "stopped",
}

// State tells about a container.
func (r *Runtime) State(ctx context.Context, id string) (State, error) {
	rec, err := states{r.Root}.read(id)
	if err != nil {
		return State{}, err
	}
	s := State{
		Version: specs.Version, ID: id, Pid: rec.Pid, Status: "stopped",
		Bundle: rec.Bundle, Rootfs: rec.Rootfs, Created: rec.Created,
	}
	err = r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) error {
		resp, err := tasks.State(ctx, &taskapi.StateRequest{ID: id})
		if err == nil {
			s.Status = statuses[resp.GetStatus()]
		}
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return State{}, err
	}
	if s.Status == "stopped" {
		s.Pid = 0
	}
	return s, nil
}

// List tells about all containers.
func (r *Runtime) List(ctx context.Context) ([]State, error) {
	ids, err := states{r.Root}.list()
	if err != nil {
		return nil, err
	}
	all := []State{}
	for _, id := range ids {
		if s, err := r.State(ctx, id); err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// Kill sends a signal to a container's first process, or to all of them.
func (r *Runtime) Kill(ctx context.Context, id string, signal unix.Signal, all bool) error {
	if _, err := (states{r.Root}).read(id); err != nil {
		return err
	}
	return r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) error {
		_, err := tasks.Kill(ctx, &taskapi.KillRequest{ID: id, Signal: uint32(signal), All: all})
		return err
	})
}

// Delete removes a container that has ended; with force, one that runs too.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	st := states{r.Root}
	if _, err := st.read(id); err != nil {
		if force && errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	if !st.owned(id) {
		return r.remove(ctx, st, id)
	}
	if !force {
		return fmt.Errorf("container %q is running: %w", id, errdefs.ErrFailedPrecondition)
	}
	if err := r.Kill(ctx, id, unix.SIGKILL, true); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	// Its "run" removes it on both machines.
	for st.owned(id) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of container %q: %w", id, ctx.Err())
		}
	}
	return st.remove(id)
}

// processType is the name by which the task API knows a process's JSON.
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process"

// ExecOptions are those of "runc exec".
type ExecOptions struct {
	Process specs.Process
	PidFile string
}

// Exec runs a further process in a container and returns its exit status.
func (r *Runtime) Exec(ctx context.Context, id string, o ExecOptions) (status int, err error) {
	st := states{r.Root}
	if _, err := st.read(id); err != nil {
		return 0, err
	}
	dir, err := st.dir(id)
	if err != nil {
		return 0, err
	}
	encoded, err := json.Marshal(&o.Process)
	if err != nil {
		return 0, fmt.Errorf("encode process: %w", err)
	}
	spec := &anypb.Any{TypeUrl: processType, Value: encoded}
	err = r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) (err error) {
		streams, err := newStdio(dir, o.Process.Terminal)
		if err != nil {
			return err
		}
		defer streams.finish()
		if err := streams.start(); err != nil {
			return err
		}
		execID := "exec-" + rand.Text()
		_, err = tasks.Exec(ctx, &taskapi.ExecProcessRequest{
			ID: id, ExecID: execID, Terminal: o.Process.Terminal, Spec: spec,
			Stdin: streams.stdin, Stdout: streams.stdout, Stderr: streams.stderr,
		})
		if err != nil {
			return err
		}
		defer func() {
			_, delErr := tasks.Delete(context.WithoutCancel(ctx), &taskapi.DeleteRequest{ID: id, ExecID: execID})
			err = errors.Join(err, delErr)
		}()
		release, err := standFor(ctx, tasks, id, execID, o.PidFile)
		if err != nil {
			return err
		}
		defer release()
		status, err = follow(ctx, tasks, streams, id, execID)
		return err
	})
	return status, err
}

// standFor makes a process whose pid is written to the pid file: killing it kills
// the process on the HOST.
func standFor(ctx context.Context, tasks taskapi.TTRPCTaskService, id, execID, pidFile string) (release func(), err error) {
	if pidFile == "" {
		return func() {}, nil
	}
	sh, err := shadow.Start("offload-shadow exec "+id, shadow.Namespaces{})
	if err != nil {
		return nil, err
	}
	fd, err := unix.PidfdOpen(sh.Pid(), 0)
	if err != nil {
		sh.Stop()
		return nil, fmt.Errorf("watch shadow: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer unix.Close(fd)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		select {
		case <-ended:
		default:
			_, _ = tasks.Kill(ctx, &taskapi.KillRequest{ID: id, ExecID: execID, Signal: uint32(unix.SIGKILL)})
		}
	}()
	release = func() { close(ended); sh.Stop() }
	if err := writePid(pidFile, sh.Pid()); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Pids returns the process ids a container has on the HOST.
func (r *Runtime) Pids(ctx context.Context, id string) ([]int, error) {
	pids := []int{}
	err := r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) error {
		resp, err := tasks.Pids(ctx, &taskapi.PidsRequest{ID: id})
		for _, p := range resp.GetProcesses() {
			pids = append(pids, int(p.GetPid()))
		}
		return err
	})
	return pids, err
}

// Pause freezes a container; Resume thaws it.
func (r *Runtime) Pause(ctx context.Context, id string) error {
	return r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) error {
		_, err := tasks.Pause(ctx, &taskapi.PauseRequest{ID: id})
		return err
	})
}

// Resume thaws a container.
func (r *Runtime) Resume(ctx context.Context, id string) error {
	return r.reach(ctx, id, func(ctx context.Context, tasks taskapi.TTRPCTaskService) error {
		_, err := tasks.Resume(ctx, &taskapi.ResumeRequest{ID: id})
		return err
	})
}

// Version returns what the HOST's runc says of its version, Features what it says
// of its features.
func (r *Runtime) Version(ctx context.Context) (string, error) { return dpu.RuntimeVersion(ctx) }

// Features returns what the HOST's runc says of its features, as JSON.
func (r *Runtime) Features(ctx context.Context) (string, error) {
	text, err := dpu.RuntimeFeatures(ctx)
	if err == nil && !json.Valid([]byte(text)) {
		err = fmt.Errorf("features of the HOST's runtime are not JSON: %w", errdefs.ErrDataLoss)
	}
	return text, err
}

// reach calls f with the task API of a container's "run".
func (r *Runtime) reach(ctx context.Context, id string, f func(context.Context, taskapi.TTRPCTaskService) error) error {
	dir, err := states{r.Root}.dir(id)
	if err != nil {
		return err
	}
	c, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("container not running: %q: %w", id, errdefs.ErrNotFound)
		}
		return fmt.Errorf("reach container %q: %w", id, err)
	}
	client := ttrpc.NewClient(c)
	defer client.Close()
	return errgrpc.ToNative(f(namespaces.WithNamespace(ctx, Namespace), taskapi.NewTTRPCTaskClient(client)))
}
