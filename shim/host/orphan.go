// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"time"

	"github.com/container-offload/offload/udsbridge/session"
)

// watch ends the pod when its DPU half is gone for good. containerd counts the
// containers as dead then, and could not have them removed if the HOST was out
// of reach at that time.
func (h *half) watch(ctx context.Context, sess *session.Session, replaced <-chan struct{}) {
	select {
	case <-sess.Done():
	case <-h.shutdown.Done():
		return
	}
	var patience time.Duration
	if !errors.Is(sess.Err(), session.ErrLinkLost) {
		// The DPU half has ended in order, and containerd may be about to say
		// what is to become of its pod.
		patience = h.cfg.Link.ResumeTimeout.Duration()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-replaced:
	case <-h.shutdown.Done():
	case <-timer.C:
		h.abandon(ctx, sess.Err())
	}
}

// abandon ends the pod's containers and removes all of it, once.
func (h *half) abandon(ctx context.Context, reason error) {
	h.mu.Lock()
	already := h.abandoned
	h.abandoned = true
	h.mu.Unlock()
	if already {
		return
	}
	h.log.Error("the DPU half is gone for good: its containers end", "error", reason)
	if err := deleteContainers(ctx, h.cfg, h.dir, h.target.Namespace); err != nil {
		h.log.Error("end containers", "error", err)
	}
	if err := h.clean(); err != nil {
		h.log.Error("remove pod", "error", err)
	}
	h.shutdown.Shutdown()
}
