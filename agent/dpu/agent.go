// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpu is the DPU's daemon: it serves containerd the snapshotter and the
// differ, and keeps the HOST's tree mounted.
package dpu

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	leaseproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/plugins/blobs"
	"github.com/container-offload/offload/plugins/differ"
	"github.com/container-offload/offload/plugins/proxy"
	"github.com/container-offload/offload/plugins/snapshotter"
)

// Daemon is a running daemon.
type Daemon struct {
	cfg        *config.DPU
	log        *slog.Logger
	started    time.Time
	host       *connector
	mounts     *mounts
	bridging   *agent.Bridging
	containerd *grpc.ClientConn
	rexec      *agent.Rexec
}

// Run serves until ctx ends, and then until the calls in progress are answered.
// containerd finds the plugins on one of the sockets that were handed over, or on a
// new one. Run closes all of them.
func Run(ctx context.Context, cfg *config.DPU, handed []net.Listener, log *slog.Logger) error {
	plugins, err := pluginListener(cfg.Plugins.Socket, handed, log)
	if err != nil {
		return err
	}
	defer plugins.Close()
	d, err := newDaemon(cfg, log)
	if err != nil {
		return err
	}
	defer d.close()
	if cfg.Link.Insecure {
		log.Warn("the link is not protected: whoever sits on it rules the HOST", "address", cfg.Link.Address)
	}
	about, err := agent.Listen(ctx, cfg.State.Dir, cfg.Metrics.Listen, log)
	if err != nil {
		return err
	}
	defer about.Close()
	asked := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer d.mounts.wait()
	defer cancel()
	if err := d.startRexec(ctx); err != nil {
		return err
	}
	defer d.rexec.Close()
	if d.bridging, err = d.startBridge(ctx); err != nil {
		return err
	}
	defer d.bridging.Close()
	if err := d.mounts.start(ctx); err != nil {
		return err
	}
	about.Serve(ctx, d.handler(), d.Report)
	go d.rexec.ServeClients(ctx, d.openRexec)
	return d.servePlugins(asked, plugins, about)
}

func newDaemon(cfg *config.DPU, log *slog.Logger) (*Daemon, error) {
	host, err := newConnector(cfg, log)
	if err != nil {
		return nil, err
	}
	containerd, err := grpc.NewClient("unix://"+cfg.Containerd.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("reach containerd at %s: %w", cfg.Containerd.Address, err)
	}
	return &Daemon{
		cfg: cfg, log: log, started: time.Now(), host: host, containerd: containerd,
		mounts: newMounts(cfg, host, log),
	}, nil
}

func (d *Daemon) close() {
	d.containerd.Close()
	d.host.Close()
}

// servePlugins answers containerd on the plugin socket until ctx ends, and says when
// it does.
func (d *Daemon) servePlugins(ctx context.Context, l net.Listener, about *agent.Serving) error {
	sn, err := snapshotter.New(d.host.pluginStream, snapshotter.Options{
		Root: d.cfg.RemoteFS.Mountpoint, Ready: d.mounts.tree,
	})
	if err != nil {
		return err
	}
	defer sn.Close()
	layers := blobs.New(contentproxy.NewContentStore(d.containerd), introspection.NewIntrospectionClient(d.containerd))
	df, err := differ.New(d.host.pluginStream, layers, differ.Options{
		Root: d.cfg.RemoteFS.Mountpoint, Leases: leaseproxy.NewLeaseManager(leasesapi.NewLeasesClient(d.containerd)),
	})
	if err != nil {
		return err
	}
	return d.serve(ctx, l, about, func(server grpc.ServiceRegistrar) { proxy.Register(server, sn, df) })
}
