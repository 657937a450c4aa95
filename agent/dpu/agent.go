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

	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hostagent "github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/plugins/differ"
	"github.com/container-offload/offload/plugins/proxy"
	"github.com/container-offload/offload/plugins/snapshotter"
	"github.com/container-offload/offload/remotefs/client"
)

const (
	// shortestRemount and longestRemount bound the pause between two attempts to mount
	// the tree.
	shortestRemount = 100 * time.Millisecond
	longestRemount  = 2 * time.Second
	// unmountTimeout bounds how long the daemon's end waits for the mount's.
	unmountTimeout = 5 * time.Second
)

// Run serves until ctx ends.
func Run(ctx context.Context, cfg *config.DPU, log *slog.Logger) error {
	c, err := newConnector(cfg, log)
	if err != nil {
		return err
	}
	defer c.close()
	if cfg.Link.Insecure {
		log.Warn("the link is not protected: whoever sits on it rules the HOST", "address", cfg.Link.Address)
	}
	mounted := make(chan struct{})
	go func() {
		defer close(mounted)
		keepMounted(ctx, c)
	}()
	err = servePlugins(ctx, c)
	<-mounted
	return err
}

// servePlugins answers containerd on the plugin socket.
func servePlugins(ctx context.Context, c *connector) error {
	sn, err := snapshotter.New(c.pluginStream, snapshotter.Options{Root: c.cfg.RemoteFS.Mountpoint})
	if err != nil {
		return err
	}
	defer sn.Close()
	containerd, err := grpc.NewClient("unix://"+c.cfg.Containerd.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("reach containerd at %s: %w", c.cfg.Containerd.Address, err)
	}
	defer containerd.Close()
	df, err := differ.New(c.pluginStream, contentproxy.NewContentStore(containerd), differ.Options{Root: c.cfg.RemoteFS.Mountpoint})
	if err != nil {
		return err
	}
	l, err := listen(c.cfg.Plugins.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	proxy.Register(server, sn, df)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve plugins on %s: %w", c.cfg.Plugins.Socket, err)
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

// keepMounted keeps the HOST's tree mounted until ctx ends. A mount whose
// connection has ended for good is replaced as soon as there is another.
func keepMounted(ctx context.Context, c *connector) {
	pause := shortestRemount
	for {
		m, err := mountTree(ctx, c)
		if err == nil {
			pause = shortestRemount
			select {
			case <-m.Done():
			case <-ctx.Done():
			}
			unmount(m, c.log)
		} else {
			c.log.Debug("mount the HOST's tree", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, longestRemount)
		}
	}
}

func mountTree(ctx context.Context, c *connector) (*client.FS, error) {
	dir := c.cfg.RemoteFS.Mountpoint
	// A mount whose process was killed fails every look at it until it is
	// gone, MkdirAll's too; Mount takes it away.
	if err := os.MkdirAll(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		c.log.Debug("make mount point", "error", err)
	}
	open := func(ctx context.Context) (net.Conn, error) { return c.open(ctx, hostagent.ServiceFiles, nil) }
	m, err := client.Mount(ctx, open, dir, client.Options{
		Source: "host:" + c.cfg.RemoteFS.Tree, Export: hostagent.TreeExport, Logger: c.log,
	})
	if err != nil {
		return nil, fmt.Errorf("mount the HOST's tree on %s: %w", dir, err)
	}
	return m, nil
}

func unmount(m *client.FS, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), unmountTimeout)
	defer cancel()
	if err := m.Unmount(ctx); err != nil {
		log.Warn("unmount the HOST's tree", "error", err)
	}
}
