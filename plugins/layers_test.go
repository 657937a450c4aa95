// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// capability is a security.capability of version 2: cap_net_raw, effective.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// image is an image with something of everything a layer can have.
func image(t testing.TB) [][]byte {
	big := entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "var/big", Mode: 0o644}, content: "head", sparse: 8 << 20}
	return [][]byte{
		tarOf(t,
			dir("bin", 0o755), dir("etc", 0o755), dir("opaque", 0o755), dir("gone", 0o755), dir("var", 0o755),
			dir("home", 0o750).owned(1000, 1000).attr("user.note", "kept"),
			dir("tmp", 0o1777),
			file("bin/su", "setuid", 0o4755),
			file("bin/wall", "setgid", 0o2755).owned(0, 5),
			file("bin/ping", "capable", 0o755).attr("security.capability", capability),
			file("etc/passwd", "root:x:0:0", 0o644),
			file("etc/shadow", "secret", 0o000).owned(0, 42),
			file("opaque/old", "old", 0o644),
			file("gone/a", "a", 0o644), file("gone/b", "b", 0o644),
			file("home/nobody", "high owner", 0o600).owned(4294967294, 4000000000),
			file("spaß/日本語", "names", 0o644),
			file(strings.Repeat("deep/", 40)+"file", "deep", 0o644),
			link(tar.TypeLink, "bin/su2", "bin/su"),
			link(tar.TypeSymlink, "etc/mtab", "/proc/mounts"),
			link(tar.TypeSymlink, "lib", "usr/lib"),
			device(tar.TypeChar, "null", 1, 3), device(tar.TypeBlock, "disk", 254, 0), device(tar.TypeFifo, "fifo", 0, 0),
			big,
		),
		tarOf(t,
			file("gone/.wh.a", "", 0), file(".wh.null", "", 0),
			dir("opaque", 0o711).owned(7, 8), file("opaque/.wh..wh..opq", "", 0), file("opaque/new", "new", 0o644),
			file("etc/passwd", "root:x:0:0\nuser", 0o600),
			dir("usr", 0o755), dir("usr/lib", 0o755), file("lib/libc.so", "through the link", 0o755),
			file("bin/su", "setuid", 0o4755), link(tar.TypeLink, "bin/sudo", "bin/su"),
		),
		tarOf(t,
			file(".wh.home", "", 0), file("home", "a file now", 0o644),
			dir("gone", 0o700), file("gone/a", "back", 0o644),
			file("etc/.wh.mtab", "", 0), dir("etc/mtab", 0o755), file("etc/mtab/x", "x", 0o644),
		),
	}
}

// put adds a blob to containerd's content store.
func (r *rig) put(ctx context.Context, t testing.TB, mediaType string, b []byte) ocispec.Descriptor {
	t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	err := content.WriteBlob(ctx, r.content, desc.Digest.String(), bytes.NewReader(b), desc)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		t.Fatalf("store blob: %v", err)
	}
	return desc
}

// unpack applies layers on top of each other and gives the last one's name.
func unpack(ctx context.Context, t testing.TB, sn snapshots.Snapshotter, a diff.Applier, prefix string, layers []ocispec.Descriptor) string {
	t.Helper()
	parent := ""
	for i, l := range layers {
		key, name := fmt.Sprintf("%s-extract-%d", prefix, i), fmt.Sprintf("%s-%d", prefix, i)
		m, err := sn.Prepare(ctx, key, parent)
		if err != nil {
			t.Fatalf("prepare layer %d: %v", i, err)
		}
		if _, err := a.Apply(ctx, l, m); err != nil {
			t.Fatalf("apply layer %d: %v", i, err)
		}
		if err := sn.Commit(ctx, name, key); err != nil {
			t.Fatalf("commit layer %d: %v", i, err)
		}
		parent = name
	}
	return parent
}

// look mounts a view of a snapshot and gives its tree.
func look(ctx context.Context, t testing.TB, sn snapshots.Snapshotter, name string) []string {
	t.Helper()
	key := name + "-look"
	m, err := sn.View(ctx, key, name)
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	var seen []string
	if err := mount.WithTempMount(ctx, m, func(root string) error {
		seen = tree(t, root)
		return nil
	}); err != nil {
		t.Fatalf("mount view: %v", err)
	}
	if err := sn.Remove(ctx, key); err != nil {
		t.Fatalf("remove view: %v", err)
	}
	return seen
}

// stock unpacks layers with containerd's own applier and overlayfs snapshotter.
func (r *rig) stock(ctx context.Context, t testing.TB, layers []ocispec.Descriptor) []string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "stock")
	sn, err := overlay.NewSnapshotter(root)
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Close()
	return look(ctx, t, sn, unpack(ctx, t, sn, apply.NewFileSystemApplier(r.content), "stock", layers))
}

func TestLayersAsStock(t *testing.T) {
	for _, c := range []struct {
		name, mediaType string
		pack            func(testing.TB, []byte) []byte
	}{
		{"plain", ocispec.MediaTypeImageLayer, func(_ testing.TB, b []byte) []byte { return b }},
		{"gzip", ocispec.MediaTypeImageLayerGzip, gzipOf},
		{"zstd", ocispec.MediaTypeImageLayerZstd, zstdOf},
		{"docker gzip", images.MediaTypeDockerSchema2LayerGzip, gzipOf},
		{"docker unnamed zstd", images.MediaTypeDockerSchema2Layer, zstdOf},
		{"docker foreign", images.MediaTypeDockerSchema2LayerForeignGzip, gzipOf},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ctx := newRig(t), testContext(t)
			var layers []ocispec.Descriptor
			for _, l := range image(t) {
				layers = append(layers, r.put(ctx, t, c.mediaType, c.pack(t, l)))
			}
			want := r.stock(ctx, t, layers)
			if len(want) < 60 {
				t.Fatalf("stock tree has %d entries only", len(want))
			}
			same(t, settled(want), settled(look(ctx, t, r.sn, unpack(ctx, t, r.sn, r.differ, "ours", layers))))
		})
	}
}

// TestParallelUnpack unpacks layers in the order they come, none with its
// parent, and gives each its parent when it is committed, as containerd does for
// snapshotters with the capability "rebase".
func TestParallelUnpack(t *testing.T) {
	for _, overlayMounts := range []bool{false, true} {
		t.Run(fmt.Sprintf("overlay mounts %v", overlayMounts), func(t *testing.T) {
			r, ctx := newRig(t), testContext(t)
			var layers []ocispec.Descriptor
			for _, l := range image(t) {
				layers = append(layers, r.put(ctx, t, ocispec.MediaTypeImageLayerGzip, gzipOf(t, l)))
			}
			want := r.stock(ctx, t, layers)
			var g errgroup.Group
			for i, l := range layers {
				g.Go(func() error {
					var opts []snapshots.Opt
					if i > 0 && !overlayMounts {
						opts = append(opts, snapshots.WithLabels(map[string]string{"containerd.io/snapshot/parent-chain-id": "sha256:parent"}))
					}
					m, err := r.sn.Prepare(ctx, fmt.Sprint("extract-", i), "", opts...)
					if err != nil {
						return err
					}
					if i > 0 && overlayMounts {
						m = []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"rw", "upperdir=" + m[0].Source}}}
					}
					_, err = r.differ.Apply(ctx, l, m)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			for i := range layers {
				var opts []snapshots.Opt
				if i > 0 {
					opts = append(opts, snapshots.WithParent(fmt.Sprint("layer-", i-1)))
				}
				if err := r.sn.Commit(ctx, fmt.Sprint("layer-", i), fmt.Sprint("extract-", i), opts...); err != nil {
					t.Fatal(err)
				}
			}
			same(t, settled(want), settled(look(ctx, t, r.sn, fmt.Sprint("layer-", len(layers)-1))))
		})
	}
}

func TestApplyGivesDescriptorAndProgress(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	plain := tarOf(t, file("a", strings.Repeat("some text ", 500000), 0o644))
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayer, plain)
	m, err := r.sn.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	var seen []int64
	got, err := r.differ.Apply(ctx, desc, m, diff.WithSyncFs(true), diff.WithProgress(func(_ ocispec.Descriptor, n int64) { seen = append(seen, n) }))
	if err != nil {
		t.Fatal(err)
	}
	want := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(plain), Size: int64(len(plain))}
	if got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType {
		t.Errorf("descriptor: expected %v, got %v", want, got)
	}
	if len(seen) < 2 || seen[0] != 0 || seen[len(seen)-1] != desc.Size {
		t.Errorf("progress: expected from 0 to %d, got %v", desc.Size, seen)
	}
}

// TestHugeSparseFile unpacks a file larger than 4 GiB that is one hole, in the
// form GNU tar writes it: the data is a map, the size is real.
func TestHugeSparseFile(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	const size = 4<<30 + 4096
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayerZstd, zstdOf(t, sparseTar("huge", size)))
	m, err := r.sn.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		t.Skip("writes 5 GiB")
	}
	if _, err := r.differ.Apply(ctx, desc, m); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(m[0].Source, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() != size {
		t.Errorf("size: expected %d, got %d", int64(size), st.Size())
	}
}

// sparseTar is a PAX archive of format GNU.sparse 1.0 with one empty file.
func sparseTar(name string, size int64) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	body := make([]byte, 512)
	copy(body, fmt.Sprintf("1\n%d\n0\n", size))
	_ = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/" + name, Mode: 0o644, Size: 512, Format: tar.FormatPAX,
		PAXRecords: map[string]string{
			"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.name": name, "XXX.sparse.realsize": fmt.Sprint(size),
		}})
	_, _ = tw.Write(body)
	_ = tw.Close()
	// The writer refuses GNU's records. Names of the same length change no other byte.
	return bytes.ReplaceAll(b.Bytes(), []byte("XXX.sparse."), []byte("GNU.sparse."))
}

// TestCompareRoundTrip changes a container, makes a layer of the changes and
// unpacks that on the same image elsewhere.
func TestCompareRoundTrip(t *testing.T) {
	for _, mediaType := range []string{"", ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd} {
		t.Run("media type "+mediaType, func(t *testing.T) {
			r, ctx := newRig(t), testContext(t)
			base := r.base(ctx, t)
			lower, upper := r.changed(ctx, t, base)
			var opts []diff.Opt
			if mediaType != "" {
				opts = append(opts, diff.WithMediaType(mediaType))
			}
			opts = append(opts, diff.WithReference("ref"), diff.WithLabels(map[string]string{"mine": "yes"}))
			desc, err := r.differ.Compare(ctx, lower, upper, opts...)
			if err != nil {
				t.Fatal(err)
			}
			r.checkLabels(ctx, t, desc)
			if err := r.sn.Commit(ctx, "changed", "container"); err != nil {
				t.Fatal(err)
			}
			m, err := r.sn.Prepare(ctx, "again", base)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.differ.Apply(ctx, desc, m); err != nil {
				t.Fatal(err)
			}
			if err := r.sn.Commit(ctx, "unpacked", "again"); err != nil {
				t.Fatal(err)
			}
			same(t, seconds(look(ctx, t, r.sn, "changed")), seconds(look(ctx, t, r.sn, "unpacked")))
		})
	}
}

// seconds cuts times to what a tar stream keeps for certain.
func seconds(lines []string) []string {
	return retime(lines, func(at string) string { at, _, _ = strings.Cut(at, "."); return at })
}

// settled leaves out times that no layer gave a file, of directories made on the
// way to one.
func settled(lines []string) []string {
	given := fmt.Sprintf("%d.%09d", layerTime.Unix(), 0)
	return retime(lines, func(at string) string {
		if at == given {
			return at
		}
		return "any"
	})
}

func retime(lines []string, to func(string) string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		if before, after, ok := strings.Cut(l, "mtime="); ok {
			at, rest, _ := strings.Cut(after, " ")
			l = before + "mtime=" + to(at) + " " + rest
		}
		out[i] = l
	}
	return out
}

// base unpacks the test image and gives its name.
func (r *rig) base(ctx context.Context, t testing.TB) string {
	t.Helper()
	var layers []ocispec.Descriptor
	for _, l := range image(t) {
		layers = append(layers, r.put(ctx, t, ocispec.MediaTypeImageLayerGzip, gzipOf(t, l)))
	}
	return unpack(ctx, t, r.sn, r.differ, "base", layers)
}

// changed starts a container of an image and changes its files, and gives the
// mounts of the image and of the container.
func (r *rig) changed(ctx context.Context, t testing.TB, base string) (lower, upper []mount.Mount) {
	t.Helper()
	upper, err := r.sn.Prepare(ctx, "container", base)
	if err != nil {
		t.Fatal(err)
	}
	if lower, err = r.sn.View(ctx, "image", base); err != nil {
		t.Fatal(err)
	}
	root := upper[0].Source
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("changed"), 0o600),
		os.Remove(filepath.Join(root, "bin/ping")),
		os.RemoveAll(filepath.Join(root, "opaque")),
		os.Mkdir(filepath.Join(root, "opaque"), 0o755),
		os.WriteFile(filepath.Join(root, "opaque/only"), nil, 0o644),
		os.Rename(filepath.Join(root, "gone"), filepath.Join(root, "moved")),
		os.Chown(filepath.Join(root, "bin/wall"), 9, 9),
		os.Link(filepath.Join(root, "etc/passwd"), filepath.Join(root, "etc/passwd-")),
		os.Symlink("passwd", filepath.Join(root, "etc/link")),
	); err != nil {
		t.Fatal(err)
	}
	return lower, upper
}

// checkLabels checks that a layer is in the content store and says what is in it.
func (r *rig) checkLabels(ctx context.Context, t testing.TB, desc ocispec.Descriptor) {
	t.Helper()
	info, err := r.content.Info(ctx, desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	diffID, err := images.GetDiffID(ctx, r.content, desc)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Labels[labels.LabelUncompressed]; got != diffID.String() {
		t.Errorf("label: expected %s, got %s", diffID, got)
	}
	if info.Labels["mine"] != "yes" || info.Size != desc.Size {
		t.Errorf("content info is %+v for %+v", info, desc)
	}
}

// TestCompareWithNothing makes a layer of all of a snapshot, as BuildKit does
// for a first layer.
func TestCompareWithNothing(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	base := r.base(ctx, t)
	upper, err := r.sn.View(ctx, "view", base)
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.differ.Compare(ctx, nil, upper)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.differ.Compare(ctx, nil, upper)
	if err != nil {
		t.Fatalf("a layer that is there already: %v", err)
	}
	if first.Digest != second.Digest {
		t.Errorf("layers of the same snapshot differ: %s and %s", first.Digest, second.Digest)
	}
	name := unpack(ctx, t, r.sn, r.differ, "flat", []ocispec.Descriptor{first})
	same(t, seconds(look(ctx, t, r.sn, base)), seconds(look(ctx, t, r.sn, name)))
	if found, err := filepath.Glob(filepath.Join(r.tree, ".empty-*")); err != nil || len(found) > 0 {
		t.Errorf("left behind: %v %v", found, err)
	}
}

// TestCompareEpoch makes a layer with an upper bound on times.
func TestCompareEpoch(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m[0].Source, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	desc, err := r.differ.Compare(ctx, nil, m, diff.WithSourceDateEpoch(&layerTime), diff.WithMediaType(ocispec.MediaTypeImageLayer))
	if err != nil {
		t.Fatal(err)
	}
	b, err := content.ReadBlob(ctx, r.content, desc)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		t.Fatal(err)
	}
	if h.Name != "new" || !h.ModTime.Equal(layerTime) {
		t.Errorf("expected new at %v, got %s at %v", layerTime, h.Name, h.ModTime)
	}
}

// TestNotOurs checks that containerd is sent on to its next differ.
func TestNotOurs(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayer, tarOf(t))
	typed := func(mediaType string) ocispec.Descriptor { d := desc; d.MediaType = mediaType; return d }
	bind := func(source string) []mount.Mount { return []mount.Mount{{Type: "bind", Source: source}} }
	for name, c := range map[string]struct {
		desc   ocispec.Descriptor
		mounts []mount.Mount
	}{
		"another directory":    {desc, bind("/tmp")},
		"below a snapshot":     {desc, bind(m[0].Source + "/etc")},
		"dots":                 {desc, bind(r.tree + "/snapshots/../snapshots/1")},
		"two mounts":           {desc, append(bind("/tmp"), bind("/tmp")...)},
		"no mounts":            {desc, nil},
		"other overlay":        {desc, []mount.Mount{{Type: "overlay", Options: []string{"upperdir=/a", "workdir=/b", "lowerdir=/c"}}}},
		"ours, with a lower":   {desc, []mount.Mount{{Type: "overlay", Options: []string{"upperdir=" + m[0].Source, "lowerdir=/c"}}}},
		"encrypted":            {typed(ocispec.MediaTypeImageLayerGzip + "+encrypted"), m},
		"encrypted docker":     {typed(images.MediaTypeDockerSchema2LayerGzip + "+encrypted"), m},
		"no layer":             {typed("application/vnd.oci.image.config.v1+json"), m},
		"no media type at all": {typed(""), m},
	} {
		if _, err := r.differ.Apply(ctx, c.desc, c.mounts); !errdefs.IsNotImplemented(err) {
			t.Errorf("apply %s: expected not implemented, got %v", name, err)
		}
	}
	if _, err := r.differ.Compare(ctx, bind("/tmp"), m); !errdefs.IsNotImplemented(err) {
		t.Errorf("compare with another directory: expected not implemented, got %v", err)
	}
	if _, err := r.differ.Compare(ctx, nil, m, diff.WithMediaType("application/other")); !errdefs.IsNotImplemented(err) {
		t.Errorf("compare into another media type: expected not implemented, got %v", err)
	}
	if _, err := r.differ.Apply(ctx, desc, m); err != nil {
		t.Errorf("the snapshot is no longer usable: %v", err)
	}
}
