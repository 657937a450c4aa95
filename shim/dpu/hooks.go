// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// hooks are a spec's OCI hooks by stage. They are programs of the DPU and run
// there, in the runtime's namespaces, with the shadow's pid; see the runtime
// specification, "POSIX-platform Hooks".
type hooks map[stage][]specs.Hook

type stage string

const (
	createRuntime stage = "createRuntime"
	poststart     stage = "poststart"
	poststop      stage = "poststop"
)

// takeHooks moves the hooks out of spec. It fails for stages that would have to
// run inside the container, where the DPU's programs are not.
func takeHooks(spec *specs.Spec) (hooks, error) {
	h := spec.Hooks
	spec.Hooks = nil
	if h == nil {
		return nil, nil
	}
	if len(h.CreateContainer)+len(h.StartContainer) > 0 {
		return nil, fmt.Errorf("createContainer and startContainer hooks run a program of the DPU inside a container of the HOST: %w", errdefs.ErrNotImplemented)
	}
	//lint:ignore SA1019 deprecated, but whoever sets it wants it run: dockerd does
	prestart := h.Prestart //nolint:staticcheck // see above
	return hooks{
		createRuntime: append(append([]specs.Hook{}, prestart...), h.CreateRuntime...),
		poststart:     h.Poststart,
		poststop:      h.Poststop,
	}, nil
}

// run runs the hooks of one stage in turn and stops at the first that fails.
func (h hooks) run(ctx context.Context, at stage, state specs.State) error {
	if len(h[at]) == 0 {
		return nil
	}
	input, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("run %s hooks: %w", at, err)
	}
	for _, hook := range h[at] {
		if err := runHook(ctx, hook, input); err != nil {
			return fmt.Errorf("run %s hook %s: %w", at, hook.Path, err)
		}
	}
	return nil
}

func runHook(ctx context.Context, hook specs.Hook, input []byte) error {
	if hook.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*hook.Timeout)*time.Second)
		defer cancel()
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, hook.Path)
	cmd.Args, cmd.Env = hook.Args, hook.Env
	if len(cmd.Args) == 0 {
		cmd.Args = []string{hook.Path}
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean this process's environment
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &out
	// A grandchild that keeps the output open must not hold the task up.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
