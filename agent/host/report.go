// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/shim/processes"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/session"
	"github.com/container-offload/offload/version"
)

// lowDisk is the part of the store's disk that must be free, and lowBytes how
// much is enough whatever part it is.
const (
	lowDisk  = 0.02
	lowBytes = 1 << 30
)

// remember has the session in reports until the returned function is called.
func (a *Agent) remember(sess *session.Session) (forget func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[sess] = time.Now()
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.sessions, sess)
	}
}

// serveStatus gives the DPU the agent's report.
func (a *Agent) serveStatus(ctx context.Context, l net.Listener) {
	if err := status.Serve(ctx, l, status.Handler(a.Report, nil)); err != nil {
		a.log.Debug("serve status", "error", err)
	}
}

// Report says what the agent is doing.
func (a *Agent) Report(ctx context.Context) (*status.Report, error) {
	r := &status.Report{
		Daemon: "offload-host", Version: version.String(), PID: os.Getpid(), Started: a.started, Links: a.links(),
	}
	var err error
	if r.Shims, err = a.halves(); err != nil {
		return nil, err
	}
	if r.Store, err = a.storeReport(ctx); err != nil {
		return nil, err
	}
	r.Problems = agent.RunChecks(ctx,
		a.checkRunc,
		func(context.Context) []string { return checkDisk(r.Store) },
		func(context.Context) []string { return checkHalves(r.Shims, a.cfg.Shim.State) },
	)
	return r, nil
}

func (a *Agent) links() []status.Link {
	a.mu.Lock()
	defer a.mu.Unlock()
	security := agent.Security(a.cfg.Link.Listen, a.cfg.Link.TLS, a.cfg.Link.PeerCID)
	var out []status.Link
	for sess, since := range a.sessions {
		out = append(out, agent.LinkOf("DPU", a.cfg.Link.Listen, security, since, sess.Stats()))
	}
	return out
}

// halves lists the HOST halves of shims, idle ones included.
func (a *Agent) halves() ([]status.Shim, error) {
	var out []status.Shim
	add := func(s status.Shim) {
		var err error
		if s.Started, err = processes.Started(s.PID); err != nil {
			s.State = status.ShimDead
		}
		out = append(out, s)
	}
	for _, pid := range a.shims.Idle() {
		add(status.Shim{PID: pid, State: status.ShimWarm})
	}
	pods, err := a.shims.Pods()
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		s := status.Shim{Namespace: p.Namespace, ID: p.ID, PID: p.PID, State: status.ShimRunning}
		if !processes.Runs(p.PID, filepath.Base(a.program)) {
			s.State = status.ShimDead
		}
		add(s)
	}
	return out, nil
}

func (a *Agent) storeReport(ctx context.Context) (*status.Store, error) {
	out := &status.Store{Root: a.cfg.Store.Root, Mounted: a.store.Mounted()}
	err := a.store.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		switch info.Kind {
		case snapshots.KindCommitted:
			out.Committed++
		case snapshots.KindView:
			out.Views++
		default:
			out.Active++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count snapshots: %w", err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(out.Root, &disk); err != nil {
		return nil, fmt.Errorf("measure %s: %w", out.Root, err)
	}
	out.FreeBytes, out.TotalBytes = disk.Bavail*uint64(disk.Bsize), disk.Blocks*uint64(disk.Bsize)
	return out, nil
}

func (a *Agent) checkRunc(context.Context) []string {
	if _, err := exec.LookPath(a.cfg.Shim.Runc); err != nil {
		return []string{fmt.Sprintf("No container can be started: the HOST has no runc (shim.runc is %q: %v).", a.cfg.Shim.Runc, err)}
	}
	return nil
}

func checkDisk(s *status.Store) []string {
	if s.FreeBytes >= lowBytes || float64(s.FreeBytes) >= lowDisk*float64(s.TotalBytes) {
		return nil
	}
	return []string{fmt.Sprintf("The HOST's disk with %s is nearly full: %d MiB of %d MiB are free.", s.Root, s.FreeBytes>>20, s.TotalBytes>>20)}
}

func checkHalves(shims []status.Shim, state string) []string {
	var out []string
	for _, s := range shims {
		if s.State == status.ShimDead && s.ID != "" {
			out = append(out, fmt.Sprintf("The HOST half of shim %s/%s (pid %d) has died and left %s; removing its container removes it.",
				s.Namespace, s.ID, s.PID, filepath.Join(state, s.Namespace, s.ID)))
		}
	}
	return out
}
