// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/container-offload/offload/shim/wire"
)

// DeleteCommand is the first argument with which a HOST half's executable
// removes what is left of a task: DeleteCommand NAMESPACE SHIM TASK. It prints
// an [ExitRecord].
const DeleteCommand = "delete"

// deleteTimeout bounds a clean-up. It goes on if whoever asked for it is gone:
// half of one is worse than none.
const deleteTimeout = time.Minute

// ExitRecord is how a task ended, as far as is known.
type ExitRecord struct {
	Pid      int       `json:"pid"`
	Status   int       `json:"status"`
	ExitedAt time.Time `json:"exited_at"`
}

// RegisterTTRPC offers the shims service; see [wire.ShimsService].
func (l *Launcher) RegisterTTRPC(server *ttrpc.Server) {
	server.RegisterService(wire.ShimsService, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		wire.ShimsVersion:  l.runtimeSays("--version"),
		wire.ShimsFeatures: l.runtimeSays("features"),
		wire.ShimsDelete: func(ctx context.Context, unmarshal func(any) error) (any, error) {
			var r taskapi.DeleteRequest
			if err := unmarshal(&r); err != nil {
				return nil, err
			}
			e, err := l.delete(ctx, r.ExecID, r.ID)
			if err != nil {
				return nil, errgrpc.ToGRPC(err)
			}
			return &taskapi.DeleteResponse{
				Pid: uint32(e.Pid), ExitStatus: uint32(e.Status), ExitedAt: protobuf.ToTimestamp(e.ExitedAt),
			}, nil
		},
	}})
}

// runtimeSays returns a method that answers with what runc prints.
func (l *Launcher) runtimeSays(arg string) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		if err := unmarshal(&emptypb.Empty{}); err != nil {
			return nil, err
		}
		out, err := askRuntime(ctx, l.cfg.Runc, arg)
		if err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
		return wrapperspb.String(string(out)), nil
	}
}

// delete runs the clean-up in a process of its own, so that the agent need not
// carry runc's packages in its memory.
func (l *Launcher) delete(ctx context.Context, shim, id string) (ExitRecord, error) {
	var e ExitRecord
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return e, fmt.Errorf("delete task %q: %w", id, err)
	}
	for _, s := range []string{ns, shim, id} {
		if err := identifiers.Validate(s); err != nil {
			return e, fmt.Errorf("delete task %q: %w: %w", id, err, errdefs.ErrInvalidArgument)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, l.cfg.Binary, DeleteCommand, ns, shim, id)
	cmd.Env = append(os.Environ(), l.cfg.Env...)
	cmd.Dir = "/"
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return e, fmt.Errorf("delete task %q: %w: %s", id, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(out, &e); err != nil {
		return e, fmt.Errorf("delete task %q: decode result: %w", id, err)
	}
	return e, nil
}
