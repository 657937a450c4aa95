// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/container-offload/offload/shim/processes"
)

// Runtime is the name by which containerd knows the shim.
const Runtime = "io.containerd.offload.v1"

// groupAnnotations name the pod a container belongs to, in order of precedence.
// Containers of one pod share a shim.
var groupAnnotations = []string{
	"io.containerd.runc.v2.group",
	"io.kubernetes.cri.sandbox-id",
}

type manager struct{}

// NewManager returns the shim's life cycle as containerd's shim package runs
// it: start, delete and info.
func NewManager() shim.Shim { return manager{} }

func (manager) Name() string { return Runtime }

// Start makes the pod's socket and the process that serves it, or returns the
// socket of the process that serves the pod already.
func (manager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	group, err := groupOf("config.json", params.GetInstanceID())
	if err != nil {
		return nil, err
	}
	dir := params.GetSocketDir()
	if dir == "" {
		dir = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := shim.CreateSocketAddress(ctx, dir, params.GetContainerdGrpcAddress(), group, false)
	if err != nil {
		return nil, fmt.Errorf("name shim socket of %s: %w", group, err)
	}
	result := &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}
	listener, err := listen(address)
	if errdefs.IsAlreadyExists(err) {
		return result, nil
	}
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	// The socket outlives this process: its path belongs to the server.
	listener.SetUnlinkOnClose(false)
	if err := spawn(ctx, params, group, listener); err != nil {
		_ = shim.RemoveSocket(address)
		return nil, err
	}
	return result, nil
}

// listen makes the socket at address. It fails with errdefs.ErrAlreadyExists
// if a live shim has it, and takes it over from a dead one.
func listen(address string) (*net.UnixListener, error) {
	l, err := shim.NewSocket(address)
	if err == nil {
		return l, nil
	}
	if !shim.SocketEaddrinuse(err) {
		return nil, fmt.Errorf("create shim socket: %w", err)
	}
	if shim.CanConnect(address) {
		return nil, fmt.Errorf("shim socket %s: %w", address, errdefs.ErrAlreadyExists)
	}
	if err := shim.RemoveSocket(address); err != nil {
		return nil, fmt.Errorf("remove socket of a dead shim: %w", err)
	}
	if l, err = shim.NewSocket(address); err != nil {
		return nil, fmt.Errorf("create shim socket: %w", err)
	}
	return l, nil
}

// spawn starts the process that serves the pod, detached from this one.
func spawn(ctx context.Context, params *bootapi.BootstrapParams, group string, l *net.UnixListener) error {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return fmt.Errorf("start shim process: %w", err)
	}
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("start shim process: %w", err)
	}
	defer f.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start shim process: %w", err)
	}
	args := []string{"-namespace", ns, "-id", params.GetInstanceID(), "-address", params.GetContainerdGrpcAddress()}
	if params.GetLogLevel() <= bootapi.LogLevel_LOG_LEVEL_DEBUG {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), processes.PodEnv+"="+group)
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start shim process: %w", err)
	}
	if err := shim.AdjustOOMScore(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("start shim process: %w", err)
	}
	return cmd.Process.Release()
}

// groupOf returns the pod that the spec in file names, or id.
func groupOf(file, id string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read container spec: %w", err)
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return "", fmt.Errorf("read container spec %s: %w", file, err)
	}
	for _, name := range groupAnnotations {
		if group := spec.Annotations[name]; group != "" {
			return group, nil
		}
	}
	return id, nil
}

// infoTimeout bounds how long containerd, which asks when it starts, waits for a
// HOST that does not answer.
const infoTimeout = 3 * time.Second

// Info answers containerd's question for the runtime: its name and version, and the
// features that the HOST's runc has, from which kubelet takes what it may ask for.
// With no word from the HOST they are left out.
func (manager) Info(ctx context.Context, optionsR io.Reader) (*types.RuntimeInfo, error) {
	info := &types.RuntimeInfo{
		Name:    Runtime,
		Version: &types.RuntimeVersion{Version: version.Version, Revision: version.Revision},
	}
	o, err := shim.ReadRuntimeOptions[*options.Options](optionsR)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("read runtime options: %w", err)
	}
	if o != nil {
		if info.Options, err = typeurl.MarshalAnyToProto(o); err != nil {
			return nil, fmt.Errorf("encode runtime options: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	text, err := RuntimeFeatures(ctx)
	var f features.Features
	if err == nil {
		err = json.Unmarshal([]byte(text), &f)
	}
	if err != nil {
		log.G(ctx).WithError(err).Debug("features of the HOST's runtime")
		return info, nil
	}
	if info.Features, err = typeurl.MarshalAnyToProto(&f); err != nil {
		return nil, fmt.Errorf("encode features: %w", err)
	}
	return info, nil
}

// killed is the status of a task that ended with its shim: 128 + SIGKILL.
const killed = 137

// Stop removes what a dead shim has left on both machines.
func (manager) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return shim.StopStatus{}, fmt.Errorf("delete shim of %s: %w", id, err)
	}
	bundle, _ := ctx.Value(shim.OptsKey{}).(shim.Opts)
	if wasDeleted(bundle.BundlePath) {
		return shim.StopStatus{ExitedAt: time.Now()}, nil
	}
	status, hostErr := DeleteOnHost(ctx, ns, id, bundle.BundlePath)
	if errdefs.IsUnavailable(hostErr) {
		// The task is over for containerd whatever is returned. The HOST half ends by itself when it has waited for
		// this side as long as this side has waited for it. containerd logs what is written here.
		fmt.Fprintln(os.Stderr, "left to the HOST:", hostErr)
		status, hostErr = shim.StopStatus{ExitStatus: killed, ExitedAt: time.Now()}, nil
	}
	return status, errors.Join(hostErr, forgetShadow(ns, id), cleanBundle(bundle.BundlePath))
}
