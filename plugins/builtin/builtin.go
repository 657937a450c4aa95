// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"github.com/container-offload/offload/plugins/differ"
	"github.com/container-offload/offload/plugins/snapshotter"
)

// ID is the name of the snapshotter and of the differ in containerd.
const ID = "offload"

// LinkPlugin is the type of the plugin that holds the link and its
// configuration. Both others use it.
const LinkPlugin plugin.Type = "io.containerd.offload.link.v1"

// DefaultRoot is where offload-dpu mounts the HOST's tree.
const DefaultRoot = "/run/offload/host"

// DefaultConfig is the file with the DPU's settings.
const DefaultConfig = "/etc/offload/dpu.toml"

// Config is the plugins' table in containerd's configuration file.
type Config struct {
	// Config is the path of the DPU's configuration file, which has the
	// settings of the link.
	Config string `toml:"config"`
	// Root is where the DPU has the HOST's tree mounted.
	Root string `toml:"root"`
}

// Session is an established link to a HOST.
type Session interface {
	// Open starts a stream to a service of the HOST. The connection also has
	// CloseWrite() error.
	Open(ctx context.Context, service string, header []byte) (net.Conn, error)
}

// Connect establishes the link that a configuration describes. It is called
// when a stream is first needed, and again after it has failed; a session it
// gave must mend itself.
type Connect func(ctx context.Context, config Config) (Session, error)

// link is the one session of a containerd.
type link struct {
	config  Config
	connect Connect
	mu      sync.Mutex
	session Session
}

// Open is a wire.Open on the session.
func (l *link) Open(ctx context.Context, service string, header []byte) (net.Conn, error) {
	l.mu.Lock()
	if l.session == nil {
		s, err := l.connect(ctx, l.config)
		if err != nil {
			l.mu.Unlock()
			return nil, fmt.Errorf("connect to host as %s says: %w", l.config.Config, err)
		}
		l.session = s
	}
	s := l.session
	l.mu.Unlock()
	return s.Open(ctx, service, header)
}

// Register adds the plugins to containerd's registry. A containerd that has its
// own way to reach the HOST calls it with that, in place of importing the
// package for its side effect only.
func Register(connect Connect) {
	registry.Register(&plugin.Registration{
		Type:   LinkPlugin,
		ID:     ID,
		Config: &Config{Config: DefaultConfig, Root: DefaultRoot},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			config, ok := ic.Config.(*Config)
			if !ok {
				return nil, errors.New("invalid offload configuration")
			}
			return &link{config: *config, connect: connect}, nil
		},
	})
	registry.Register(&plugin.Registration{
		Type:     plugins.SnapshotPlugin,
		ID:       ID,
		Requires: []plugin.Type{LinkPlugin},
		InitFn:   newSnapshotter,
	})
	registry.Register(&plugin.Registration{
		Type:     plugins.DiffPlugin,
		ID:       ID,
		Requires: []plugin.Type{LinkPlugin, plugins.MetadataPlugin},
		InitFn:   newDiffer,
	})
}

func theLink(ic *plugin.InitContext) (*link, error) {
	p, err := ic.GetByID(LinkPlugin, ID)
	if err != nil {
		return nil, fmt.Errorf("find the link plugin: %w", err)
	}
	l, ok := p.(*link)
	if !ok {
		return nil, fmt.Errorf("link plugin is a %T", p)
	}
	return l, nil
}

func newSnapshotter(ic *plugin.InitContext) (any, error) {
	l, err := theLink(ic)
	if err != nil {
		return nil, err
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	ic.Meta.Capabilities = append(ic.Meta.Capabilities, Capabilities()...)
	ic.Meta.Exports[plugins.SnapshotterRootDir] = l.config.Root
	return snapshotter.New(l.Open, snapshotter.Options{Root: l.config.Root})
}

func newDiffer(ic *plugin.InitContext) (any, error) {
	l, err := theLink(ic)
	if err != nil {
		return nil, err
	}
	md, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, fmt.Errorf("find the metadata plugin: %w", err)
	}
	db, ok := md.(*metadata.DB)
	if !ok {
		return nil, fmt.Errorf("metadata plugin is a %T", md)
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	return differ.New(l.Open, db.ContentStore(), differ.Options{Root: l.config.Root})
}
