// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/shim/processes"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/version"
)

// Report says what the daemon is doing.
func (d *Daemon) Report(ctx context.Context) (*status.Report, error) {
	r := &status.Report{
		Daemon: "offload-dpu", Version: version.String(), PID: os.Getpid(), Started: d.started,
		Links: []status.Link{d.host.report()}, Mounts: d.mounts.report(),
	}
	halves, err := processes.DPUHalves()
	if err != nil {
		return nil, err
	}
	for _, h := range halves {
		r.Shims = append(r.Shims, status.Shim{Namespace: h.Namespace, ID: h.ID, PID: h.PID, Started: h.Started, State: status.ShimRunning})
	}
	entries, err := shadow.NewRegistry(filepath.Join(d.cfg.State.Dir, "shadows")).List()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		r.Shadows = append(r.Shadows, status.Shadow{Namespace: e.Namespace, Shim: e.Shim, ID: e.ID, PID: e.Pid})
	}
	checks := []agent.Check{
		func(context.Context) []string { return checkLink(r.Links[0]) },
		d.checkContainerd,
		func(context.Context) []string { return checkShadows(r.Shadows, r.Shims) },
	}
	for _, m := range d.mounts.list() {
		checks = append(checks, m.check)
	}
	r.Problems = agent.RunChecks(ctx, checks...)
	return r, nil
}

// PeerReport asks the HOST's agent what it is doing.
func (d *Daemon) PeerReport(ctx context.Context) (*status.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, agent.CheckTimeout)
	defer cancel()
	return status.Fetch(ctx, func(ctx context.Context) (net.Conn, error) { return d.host.Open(ctx, status.Service, nil) })
}

func checkLink(l status.Link) []string {
	switch l.State {
	case status.LinkUp:
		return nil
	case status.LinkResuming:
		return []string{fmt.Sprintf("The link to the HOST at %s is lost since %s: %s.", l.Address, l.Since.Format("15:04:05"), l.Error)}
	}
	if l.Error == "" {
		return []string{fmt.Sprintf("The link to the HOST at %s is not up yet.", l.Address)}
	}
	return []string{fmt.Sprintf("There is no link to the HOST: %s.", l.Error)}
}

// checkShadows finds shadows whose shim is gone: nobody will end them.
func checkShadows(shadows []status.Shadow, shims []status.Shim) []string {
	served := make(map[[2]string]bool)
	for _, s := range shims {
		served[[2]string{s.Namespace, s.ID}] = true
	}
	var out []string
	for _, s := range shadows {
		if !served[[2]string{s.Namespace, s.Shim}] {
			out = append(out, fmt.Sprintf("The shadow of task %s/%s (pid %d) was left behind by a shim that is gone; kill %d removes it.",
				s.Namespace, s.ID, s.PID, s.PID))
		}
	}
	return out
}

// Names by which configs/offload.toml makes the plugins known to containerd.
const (
	snapshotterType = "io.containerd.snapshotter.v1"
	snapshotterID   = "offload"
	differType      = "io.containerd.differ.v1"
	differID        = "offload-diff"
)

// checkContainerd finds out whether containerd runs and uses our plugins.
func (d *Daemon) checkContainerd(ctx context.Context) []string {
	address := d.cfg.Containerd.Address
	plugins, err := introspection.NewIntrospectionClient(d.containerd).Plugins(ctx, &introspection.PluginsRequest{})
	if err != nil {
		return []string{fmt.Sprintf("containerd does not answer on %s: %v.", address, reason(err))}
	}
	var out []string
	for _, want := range [][2]string{{snapshotterType, snapshotterID}, {differType, differID}} {
		out = append(out, d.checkPlugin(plugins.GetPlugins(), want[0], want[1])...)
	}
	return out
}

func (d *Daemon) checkPlugin(plugins []*introspection.Plugin, kind, id string) []string {
	for _, p := range plugins {
		if p.GetType() != kind || p.GetID() != id {
			continue
		}
		if got := p.GetExports()["address"]; got != "" && got != d.cfg.Plugins.Socket {
			return []string{fmt.Sprintf("containerd looks for the plugin %s on %s, but it is served on %s: make offload.toml and plugins.socket agree.",
				id, got, d.cfg.Plugins.Socket)}
		}
		if e := p.GetInitErr(); e != nil {
			return []string{fmt.Sprintf("containerd could not start the plugin %s: %s.", id, e.GetMessage())}
		}
		return nil
	}
	return []string{fmt.Sprintf("containerd on %s has no plugin %s.%s: start it with the configuration that \"offloadctl config containerd\" prints.",
		d.cfg.Containerd.Address, kind, id)}
}
