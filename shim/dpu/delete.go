// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"

	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/shim/wire"
)

// deleteTimeout bounds the clean-up on the HOST; containerd gives the whole
// command five seconds.
const deleteTimeout = 4 * time.Second

// deletedMarker is the name, in a bundle, of the file that tells that the task
// was deleted in the ordinary way. containerd runs the delete command even then.
const deletedMarker = "offload-deleted"

func markDeleted(bundle string) {
	// Without the mark the HOST is asked once more, no harm done.
	_ = os.WriteFile(filepath.Join(bundle, deletedMarker), nil, 0o600)
}

func wasDeleted(bundle string) bool {
	_, err := os.Stat(filepath.Join(bundle, deletedMarker))
	return bundle != "" && err == nil
}

// DeleteOnHost has the HOST agent remove what is left of a task and its shim.
func DeleteOnHost(ctx context.Context, ns, id, bundle string) (shim.StopStatus, error) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, ns), deleteTimeout)
	defer cancel()
	cfg, err := loadConfig()
	if err != nil {
		return shim.StopStatus{}, err
	}
	group, err := groupOf(filepath.Join(bundle, "config.json"), id)
	if err != nil {
		group = id
	}
	var resp taskapi.DeleteResponse
	// ExecID carries the pod, since a task's files lie below its pod's.
	if err := callAgent(ctx, cfg, wire.ShimsDelete, &taskapi.DeleteRequest{ID: id, ExecID: group}, &resp); err != nil {
		return shim.StopStatus{}, fmt.Errorf("delete shim of %s: %w", id, err)
	}
	return shim.StopStatus{
		ExitStatus: int(resp.GetExitStatus()),
		ExitedAt:   resp.GetExitedAt().AsTime(),
	}, nil
}

// forgetShadow removes what a dead shim has written down of a task's shadow.
func forgetShadow(ns, id string) error {
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	return shadow.NewRegistry(shadowDir(cfg)).Forget(ns, id)
}

// cleanBundle removes the mounts a task may have had in its bundle.
func cleanBundle(bundle string) error {
	if bundle == "" {
		return nil
	}
	rootfs := filepath.Join(bundle, "rootfs")
	if _, err := os.Lstat(rootfs); err != nil {
		return nil
	}
	if err := mount.UnmountRecursive(rootfs, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", rootfs, err)
	}
	return nil
}
