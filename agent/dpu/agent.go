// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpu is the DPU's daemon: it serves containerd the snapshotter and the
// differ, and keeps the HOST's tree mounted.
package dpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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

// Run serves until ctx ends.
func Run(ctx context.Context, cfg *config.DPU, log *slog.Logger) error {
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
	if err := d.startRexec(ctx); err != nil {
		return err
	}
	defer d.rexec.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer d.mounts.wait()
	defer cancel()
	if d.bridging, err = d.startBridge(ctx); err != nil {
		return err
	}
	defer d.bridging.Close()
	if err := d.mounts.start(ctx); err != nil {
		return err
	}
	about.Serve(ctx, d.handler(), d.Report)
	go d.rexec.ServeClients(ctx, d.openRexec)
	return d.servePlugins(ctx, about)
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

// servePlugins answers containerd on the plugin socket, and says when it does.
func (d *Daemon) servePlugins(ctx context.Context, about *agent.Serving) error {
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
	l, err := listen(d.cfg.Plugins.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	proxy.Register(server, sn, df)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	defer about.Ready()()
	if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve plugins on %s: %w", d.cfg.Plugins.Socket, err)
	}
	return nil
}

// listen makes a socket at path, in place of one that a dead process left.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make directory of the plugin socket: %w", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("plugin socket %s is served by another process", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale plugin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for containerd: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect plugin socket: %w", err)
	}
	return l, nil
}
