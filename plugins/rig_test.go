// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/moby/sys/mountinfo"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/container-offload/offload/plugins/differ"
	"github.com/container-offload/offload/plugins/plugintest"
	"github.com/container-offload/offload/plugins/proxy"
	"github.com/container-offload/offload/plugins/snapshotter"
	"github.com/container-offload/offload/plugins/store"
)

// rig is a whole path: containerd's proxy clients, the gRPC services, the
// snapshotter and the differ, a link, and a store on the disk. The DPU's view of
// the tree is the tree itself.
type rig struct {
	dir     string // of everything
	root    string // of the store
	tree    string
	link    *plugintest.Link
	store   *store.Store
	sn      snapshots.Snapshotter // through the proxy, resolving as a file server would
	differ  proxy.Differ          // through the proxy
	content content.Store         // containerd's, with namespaces
	opts    store.Options
	stop    func() error // the HOST's side, leaving what is mounted
	undo    []func() error
}

func (r *rig) onClose(f func() error) { r.undo = append(r.undo, f) }

// close takes the rig down, everything that is mounted first, and reports what
// failed or stayed.
func (r *rig) close() error {
	var errs []error
	for i := len(r.undo) - 1; i >= 0; i-- {
		errs = append(errs, r.undo[i]())
	}
	return errors.Join(append(errs, mountedBelow(r.dir))...)
}

func mountedBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		errs = append(errs, errors.New("still mounted: "+m.Mountpoint))
	}
	return errors.Join(errs...)
}

// testContext has a namespace, as every request of containerd's does.
func testContext(t testing.TB) context.Context {
	return namespaces.WithNamespace(t.Context(), "rig")
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// newRig makes a rig for the length of a test.
func newRig(t testing.TB) *rig {
	t.Helper()
	requireRoot(t)
	dir, err := os.MkdirTemp("", "offload-rig-")
	if err != nil {
		t.Fatal(err)
	}
	r, err := makeRig(dir)
	t.Cleanup(func() {
		if r != nil {
			if err := r.close(); err != nil {
				t.Errorf("close rig: %v", err)
				return
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove rig: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("make rig: %v", err)
	}
	return r
}

func makeRig(dir string) (*rig, error) { return makeRigAt(dir, filepath.Join(dir, "store")) }

// makeRigAt makes a rig whose store is somewhere else.
func makeRigAt(dir, root string) (*rig, error) {
	r := &rig{
		dir:  dir,
		root: root,
		tree: filepath.Join(dir, "tree"),
		link: plugintest.NewLink(),
	}
	r.opts = store.Options{Root: r.root, Tree: r.tree, Log: slog.New(slog.DiscardHandler)}
	if err := r.startStore(); err != nil {
		return r, err
	}
	r.onClose(func() error { return r.stopStore() })
	if err := r.openContent(); err != nil {
		return r, err
	}
	return r, r.serveProxy()
}

// startStore starts the HOST's side.
func (r *rig) startStore() error {
	s, err := store.New(context.Background(), r.opts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	r.store = s
	ready := make(chan struct{}, 3)
	go func() {
		served <- s.Serve(ctx, func(service string) net.Listener {
			defer func() { ready <- struct{}{} }()
			return r.link.Listen(service)
		})
	}()
	for range 3 {
		<-ready
	}
	r.stop = func() error {
		cancel()
		r.link.Cut()
		return errors.Join(<-served, s.Close())
	}
	return nil
}

// stopStore ends the HOST's side for good.
func (r *rig) stopStore() error {
	return errors.Join(r.store.UnmountAll(context.Background()), r.stop())
}

// openContent makes containerd's content store.
func (r *rig) openContent() error {
	cs, err := local.NewStore(filepath.Join(r.dir, "content"))
	if err != nil {
		return err
	}
	db, err := bolt.Open(filepath.Join(r.dir, "meta.db"), 0o600, nil)
	if err != nil {
		return err
	}
	r.onClose(db.Close)
	r.content = metadata.NewDB(db, cs, nil).ContentStore()
	return nil
}

// serveProxy starts the DPU's daemon: the plugins on a socket, and containerd's
// content API on another, as the plugins see them.
func (r *rig) serveProxy() error {
	containerd, err := r.serve("containerd.sock", func(s *grpc.Server) {
		contentapi.RegisterContentServer(s, contentserver.New(r.content))
	})
	if err != nil {
		return err
	}
	sn, err := snapshotter.New(r.link.Open, snapshotter.Options{Root: r.tree})
	if err != nil {
		return err
	}
	r.onClose(sn.Close)
	d, err := differ.New(r.link.Open, contentproxy.NewContentStore(containerd), differ.Options{Root: r.tree})
	if err != nil {
		return err
	}
	plugins, err := r.serve("plugins.sock", func(s *grpc.Server) { proxy.Register(s, sn, d) })
	if err != nil {
		return err
	}
	r.sn = &resolving{snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(plugins), "offload"), r}
	r.differ = diffproxy.NewDiffApplier(diffapi.NewDiffClient(plugins)).(proxy.Differ)
	return nil
}

func (r *rig) serve(name string, register func(*grpc.Server)) (*grpc.ClientConn, error) {
	l, err := net.Listen("unix", filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	r.onClose(func() error { server.Stop(); return <-served })
	conn, err := grpc.NewClient("unix://"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	r.onClose(conn.Close)
	return conn, nil
}

// resolving looks at each path it hands out, as a file server would when the
// path is mounted.
type resolving struct {
	snapshots.Snapshotter
	r *rig
}

func (s *resolving) look(ctx context.Context, m []mount.Mount, err error) ([]mount.Mount, error) {
	if err != nil {
		return nil, err
	}
	return m, s.r.resolve(ctx, m)
}

func (s *resolving) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	m, err := s.Snapshotter.Mounts(ctx, key)
	return s.look(ctx, m, err)
}

func (s *resolving) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := s.Snapshotter.Prepare(ctx, key, parent, opts...)
	return s.look(ctx, m, err)
}

func (s *resolving) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := s.Snapshotter.View(ctx, key, parent, opts...)
	return s.look(ctx, m, err)
}

func (s *resolving) Cleanup(ctx context.Context) error {
	return s.Snapshotter.(snapshots.Cleaner).Cleanup(ctx)
}

// resolve is a look at the path of a snapshot through the file server.
func (r *rig) resolve(ctx context.Context, m []mount.Mount) error {
	dir, name := filepath.Split(strings.TrimPrefix(m[0].Source, r.tree+"/"))
	return r.store.Resolve(ctx, filepath.Clean(dir), name)
}
