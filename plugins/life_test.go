// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// views gives the mount ids of what is mounted in the tree, by path.
func (r *rig) views(t testing.TB) map[string]int {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(r.tree))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, m := range mounts {
		if _, twice := found[m.Mountpoint]; twice {
			t.Errorf("%s is mounted twice", m.Mountpoint)
		}
		found[m.Mountpoint] = m.ID
	}
	return found
}

// layered makes a snapshot of two layers, so that what is on top is an overlay.
func (r *rig) layered(ctx context.Context, t testing.TB) string {
	t.Helper()
	unpackAs(ctx, t, r, "lower", file("a", "lower", 0o644))
	m, err := r.sn.Prepare(ctx, "upper-key", "lower")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.differ.Apply(ctx, r.put(ctx, t, ocispec.MediaTypeImageLayer, tarOf(t, file("b", "upper", 0o644))), m); err != nil {
		t.Fatal(err)
	}
	if err := r.sn.Commit(ctx, "upper", "upper-key"); err != nil {
		t.Fatal(err)
	}
	return "upper"
}

// TestResolveOnce looks at one path from many sides at once.
func TestResolveOnce(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", r.layered(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.UnmountAll(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(r.views(t)); n != 0 {
		t.Fatalf("%d views left", n)
	}
	var g errgroup.Group
	for range 64 {
		g.Go(func() error { return r.resolve(ctx, m) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if v := r.views(t); len(v) != 1 || v[m[0].Source] == 0 {
		t.Errorf("mounted: %v", v)
	}
}

func TestResolveUnknown(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.layered(ctx, t)
	for _, name := range []string{"1", "2", "3", "0", "01", "-1", "x", "", "..", "1/..", "99999999999999999999999"} {
		err := r.store.Resolve(ctx, "snapshots", name)
		if !errdefs.IsNotFound(err) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: expected not found, got %v", name, err)
		}
	}
	if err := r.store.Resolve(ctx, "elsewhere", "x"); err != nil {
		t.Errorf("another directory: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(r.tree, "snapshots")); err != nil || len(left) > 0 {
		t.Errorf("left in the tree: %v %v", left, err)
	}
}

// TestViewKinds checks what is mounted, and that a view can't be written.
func TestViewKinds(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	upper := r.layered(ctx, t)
	for _, c := range []struct {
		name string
		make func() ([]mount.Mount, error)
		fs   string
		ro   bool
	}{
		{"nothing below", func() ([]mount.Mount, error) { return r.sn.Prepare(ctx, "a", "") }, "bind", false},
		{"one layer", func() ([]mount.Mount, error) { return r.sn.Prepare(ctx, "b", "lower") }, "overlay", false},
		{"view of one layer", func() ([]mount.Mount, error) { return r.sn.View(ctx, "c", "lower") }, "bind", true},
		{"view of two layers", func() ([]mount.Mount, error) { return r.sn.View(ctx, "d", upper) }, "overlay", true},
		{"view of nothing", func() ([]mount.Mount, error) { return r.sn.View(ctx, "e", "") }, "bind", true},
	} {
		m, err := c.make()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		info, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(m[0].Source))
		if err != nil || len(info) != 1 {
			t.Fatalf("%s: %v %v", c.name, info, err)
		}
		if overlay := info[0].FSType == "overlay"; overlay != (c.fs == "overlay") {
			t.Errorf("%s: expected %s, mounted is %s", c.name, c.fs, info[0].FSType)
		}
		err = os.WriteFile(filepath.Join(m[0].Source, "new"), nil, 0o644)
		if c.ro != errors.Is(err, unix.EROFS) {
			t.Errorf("%s: read-only is %v, write gives %v", c.name, c.ro, err)
		}
	}
}

// TestRestart starts a second process on the store of one that went away.
func TestRestart(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	upper := r.layered(ctx, t)
	var keep []mount.Mount
	for i, c := range []func(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error){r.sn.Prepare, r.sn.View} {
		for j, parent := range []string{"", "lower", upper} {
			m, err := c(ctx, fmt.Sprintf("key-%d-%d", i, j), parent)
			if err != nil {
				t.Fatal(err)
			}
			keep = append(keep, m[0])
		}
	}
	before := r.views(t)
	if len(before) != len(keep) {
		t.Fatalf("%d of %d mounted", len(before), len(keep))
	}
	open, err := os.Create(filepath.Join(keep[2].Source, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	litter := func(name string, m *mount.Mount) {
		path := filepath.Join(r.tree, "snapshots", name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if m != nil {
			if err := m.Mount(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	elsewhere := t.TempDir()
	litter("999", &mount.Mount{Type: "bind", Source: elsewhere, Options: []string{"bind"}}) // never was
	litter("1", &mount.Mount{Type: "bind", Source: elsewhere, Options: []string{"bind"}})   // committed
	litter("998", nil)
	if err := r.startStore(); err != nil {
		t.Fatal(err)
	}
	after := r.views(t)
	if len(after) != len(before) {
		t.Errorf("expected %v mounted, got %v", before, after)
	}
	for path, id := range before {
		if after[path] != id {
			t.Errorf("%s was not taken over", path)
		}
	}
	for _, m := range keep {
		if err := r.resolve(ctx, []mount.Mount{m}); err != nil {
			t.Error(err)
		}
	}
	if now := r.views(t); len(now) != len(before) {
		t.Errorf("mounted again: %v", now)
	}
	if _, err := open.WriteString("still"); err != nil {
		t.Errorf("an open file did not survive: %v", err)
	}
	if _, err := r.sn.Stat(ctx, "key-0-2"); err != nil {
		t.Errorf("the snapshotter did not survive: %v", err)
	}
	if m, err := r.sn.Prepare(ctx, "later", upper); err != nil || before[m[0].Source] != 0 {
		t.Errorf("a number was used again: %v %v", m, err)
	}
}

// TestRestartUncovers starts on a tree in which a view was covered by another
// mount, or is not what it should be.
func TestRestartUncovers(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	upper := r.layered(ctx, t)
	m, err := r.sn.Prepare(ctx, "key", upper)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m[0].Source, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	cover := mount.Mount{Type: "tmpfs", Source: "tmpfs"}
	if err := cover.Mount(m[0].Source); err != nil {
		t.Fatal(err)
	}
	if err := r.startStore(); err != nil {
		t.Fatal(err)
	}
	if err := r.resolve(ctx, m); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(m[0].Source, "mine")); err != nil {
		t.Error(err)
	}
	if v := r.views(t); len(v) != 1 {
		t.Errorf("mounted: %v", v)
	}
}

// TestRestartAfterCommit starts on a tree in which a committed snapshot is still
// mounted, as after a crash between the two.
func TestRestartAfterCommit(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	upper := r.layered(ctx, t)
	m, err := r.sn.Prepare(ctx, "key", upper)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sn.Commit(ctx, "name", "key"); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(m[0].Source, 0o700); err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(m[0].Source)
	layer := func(id string) string { return filepath.Join(r.root, "snapshots", id, "fs") }
	stale := mount.Mount{Type: "overlay", Source: "overlay", Options: []string{
		"upperdir=" + layer(id), "workdir=" + filepath.Join(r.root, "snapshots", id, "work"), "lowerdir=" + layer("1")}}
	if err := stale.Mount(m[0].Source); err != nil {
		t.Fatal(err)
	}
	if err := r.startStore(); err != nil {
		t.Fatal(err)
	}
	if v := r.views(t); len(v) != 0 {
		t.Errorf("still mounted: %v", v)
	}
}

// TestBusy commits and removes snapshots in which a file is open.
func TestBusy(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(ctx context.Context, r *rig) error
	}{
		{"commit", func(ctx context.Context, r *rig) error { return r.sn.Commit(ctx, "name", "key") }},
		{"remove", func(ctx context.Context, r *rig) error { return r.sn.Remove(ctx, "key") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ctx := newRig(t), testContext(t)
			m, err := r.sn.Prepare(ctx, "key", r.layered(ctx, t))
			if err != nil {
				t.Fatal(err)
			}
			open, err := os.Create(filepath.Join(m[0].Source, "open"))
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			if err := c.end(ctx, r); err != nil {
				t.Fatal(err)
			}
			if v := r.views(t); len(v) != 0 {
				t.Errorf("still mounted: %v", v)
			}
			if err := r.resolve(ctx, m); !errdefs.IsNotFound(err) {
				t.Errorf("resolve: expected not found, got %v", err)
			}
			if c.name == "commit" {
				if seen := strings.Join(look(ctx, t, r.sn, "name"), "\n"); !strings.Contains(seen, "/open ") {
					t.Errorf("not in the layer: %s", seen)
				}
			}
		})
	}
}

// TestReleaseBeforeUnmount checks that a file server is asked to let go.
func TestReleaseBeforeUnmount(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var open *os.File
	r.opts.Release = func(dir, name string) {
		if open != nil && open.Name() == filepath.Join(r.tree, dir, name, "open") {
			open.Close()
		}
	}
	if err := r.startStore(); err != nil {
		t.Fatal(err)
	}
	m, err := r.sn.Prepare(ctx, "key", r.layered(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	if open, err = os.Create(filepath.Join(m[0].Source, "open")); err != nil {
		t.Fatal(err)
	}
	if err := r.sn.Remove(ctx, "key"); err != nil {
		t.Fatal(err)
	}
	if err := open.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it was not asked: %v", err)
	}
}

// TestFailedCommitKeepsView checks that a commit that can't be leaves a running
// container what it runs on.
func TestFailedCommitKeepsView(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", r.layered(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	before := r.views(t)
	if err := r.sn.Commit(ctx, "lower", "key"); !errdefs.IsAlreadyExists(err) {
		t.Errorf("expected already exists, got %v", err)
	}
	if after := r.views(t); after[m[0].Source] != before[m[0].Source] {
		t.Errorf("view was unmounted: %v", after)
	}
}

// TestOneOverlayPerUpper unmounts a view of which a container has a bind, and
// looks at it again: it has to be the same filesystem.
func TestOneOverlayPerUpper(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", r.layered(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(r.dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m[0].Mount(rootfs); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.Unmount(rootfs, 0); err != nil {
			t.Error(err)
		}
	}()
	for _, again := range []func() error{
		func() error { return r.store.UnmountAll(ctx) },
		func() error { return mount.Unmount(m[0].Source, 0) }, // behind the store's back
		func() error { return errors.Join(r.store.UnmountAll(ctx), r.stop(), r.startStore()) },
	} {
		if err := again(); err != nil {
			t.Fatal(err)
		}
		if err := r.resolve(ctx, m); err != nil {
			t.Fatal(err)
		}
		var a, b unix.Stat_t
		if err := errors.Join(unix.Stat(rootfs, &a), unix.Stat(m[0].Source, &b)); err != nil {
			t.Fatal(err)
		}
		if a.Dev != b.Dev {
			t.Error("a second overlay was mounted on the same upper directory")
		}
	}
}

// TestManyAtOnce unpacks, mounts, compares, commits and removes all at once.
func TestManyAtOnce(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	upper := r.layered(ctx, t)
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayerGzip, gzipOf(t, tarOf(t, file("c", strings.Repeat("c", 1<<20), 0o644), file(".wh.a", "", 0))))
	want := look(ctx, t, r.sn, unpack(ctx, t, r.sn, r.differ, "first", []ocispec.Descriptor{desc}))
	var g errgroup.Group
	for i := range 24 {
		g.Go(func() error {
			key := fmt.Sprint("key-", i)
			m, err := r.sn.Prepare(ctx, key, upper)
			if err != nil {
				return err
			}
			if _, err := r.differ.Apply(ctx, desc, m); err != nil {
				return err
			}
			if err := r.resolve(ctx, m); err != nil {
				return err
			}
			if _, err := r.differ.Compare(ctx, nil, m); err != nil {
				return err
			}
			if i%2 == 0 {
				return r.sn.Remove(ctx, key)
			}
			return r.sn.Commit(ctx, fmt.Sprint("name-", i), key)
		})
	}
	g.Go(func() error {
		for range 50 {
			if err := r.sn.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
				_, err := r.sn.Usage(ctx, info.Name)
				if errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) {
					return nil // removed meanwhile
				}
				return err
			}); err != nil {
				return fmt.Errorf("walk: %w", err)
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if v := r.views(t); len(v) != 0 {
		t.Errorf("still mounted: %v", v)
	}
	got := look(ctx, t, r.sn, "name-1")
	if !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "/c ") }) || len(want) != 2 {
		t.Errorf("layer is %v", got)
	}
	if err := r.sn.(snapshots.Cleaner).Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestLinkCut breaks the link between calls and during them.
func TestLinkCut(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for i := range 20 {
		key := fmt.Sprint("key-", i)
		if _, err := r.sn.Prepare(ctx, key, ""); err != nil {
			t.Fatal(err)
		}
		r.link.Cut()
		var g errgroup.Group
		g.Go(func() error { return r.sn.Commit(ctx, fmt.Sprint("name-", i), key) })
		g.Go(func() error { _, err := r.sn.Prepare(ctx, fmt.Sprint("other-", i), ""); return err })
		r.link.Cut()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		r.link.Cut()
		if err := r.sn.Remove(ctx, fmt.Sprint("other-", i)); err != nil {
			t.Fatal(err)
		}
	}
	r.link.Close()
	_, err := r.sn.Prepare(ctx, "key", "")
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), `"key"`) {
		t.Errorf("expected unavailable, got %v", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error is of more than one line: %v", err)
	}
}
