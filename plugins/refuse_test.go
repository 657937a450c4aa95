// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/container-offload/offload/plugins/wire"
)

// apply sends bytes to the HOST as a DPU would, but with any claims about them.
func (r *rig) apply(ctx context.Context, req wire.ApplyRequest, b []byte) error {
	header, err := req.Encode()
	if err != nil {
		return err
	}
	conn, err := r.link.Open(ctx, wire.ServiceApply, header)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = conn.Write(b)
		_ = wire.CloseWrite(conn)
	}()
	_, err = wire.ReadResult(conn)
	return err
}

// id gives the id in a snapshot's mounts.
func (r *rig) id(t testing.TB, m []mount.Mount) wire.ID {
	t.Helper()
	id, err := wire.ParseSource(strings.TrimPrefix(m[0].Source, r.tree+"/"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestApplyRefusesWrongBlobs(t *testing.T) {
	good := gzipOf(t, tarOf(t, file("a", strings.Repeat("content", 100000), 0o644)))
	other := gzipOf(t, tarOf(t, file("b", "other", 0o644)))
	cut := good[:len(good)/2]
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x40
	garbage := bytes.Repeat([]byte("garbage "), 4096)
	claim := func(b []byte, mediaType string) wire.ApplyRequest {
		return wire.ApplyRequest{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	}
	const gz, zst, raw = ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayer
	for _, c := range []struct {
		name   string
		claim  wire.ApplyRequest
		sent   []byte
		expect []string // in the error
		kind   error
	}{
		{"another layer of the same size", wire.ApplyRequest{MediaType: gz, Digest: digest.FromString("x"), Size: int64(len(good))}, good,
			[]string{"expected " + digest.FromString("x").String(), "got " + digest.FromBytes(good).String()}, errdefs.ErrFailedPrecondition},
		{"more bytes", wire.ApplyRequest{MediaType: gz, Digest: digest.FromBytes(good), Size: int64(len(good)) - 1}, good, []string{"got more"}, errdefs.ErrFailedPrecondition},
		{"fewer bytes", wire.ApplyRequest{MediaType: gz, Digest: digest.FromBytes(good), Size: int64(len(good)) + 1}, good, []string{"expected", "got"}, errdefs.ErrFailedPrecondition},
		{"cut off", claim(good, gz), cut, []string{"expected", "got", "unexpected EOF"}, errdefs.ErrFailedPrecondition},
		{"nothing at all", claim(good, gz), nil, []string{"got 0"}, errdefs.ErrFailedPrecondition},
		{"shorter layer", claim(good, gz), other, []string{"expected", "got"}, errdefs.ErrFailedPrecondition},
		{"a layer that is cut off", claim(cut, gz), cut, []string{"gzip", "unexpected EOF"}, nil},
		{"damaged layer", claim(flipped, gz), flipped, []string{"gzip"}, nil},
		{"trailing garbage", claim(append(bytes.Clone(good), garbage...), gz), append(bytes.Clone(good), garbage...), []string{"gzip"}, nil},
		{"garbage as gzip", claim(garbage, gz), garbage, []string{"expected gzip, got plain tar"}, errdefs.ErrInvalidArgument},
		{"garbage as tar", claim(garbage, raw), garbage, []string{"tar"}, nil},
		{"gzip as zstd", claim(good, zst), good, []string{"expected zstd, got gzip"}, errdefs.ErrInvalidArgument},
		{"gzip as tar", claim(good, raw), good, []string{"expected plain tar, got gzip"}, errdefs.ErrInvalidArgument},
		{"unknown type", claim(good, "application/other"), good, []string{"application/other"}, errdefs.ErrInvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ctx := newRig(t), testContext(t)
			m, err := r.sn.Prepare(ctx, "key", "")
			if err != nil {
				t.Fatal(err)
			}
			c.claim.Snapshot = r.id(t, m)
			err = r.apply(ctx, c.claim, c.sent)
			if err == nil {
				t.Fatal("it was taken")
			}
			if c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("expected %v, got %v", c.kind, err)
			}
			for _, e := range append(c.expect, `snapshot `+c.claim.Snapshot.String()) {
				if !strings.Contains(err.Error(), e) {
					t.Errorf("error does not say %q: %v", e, err)
				}
			}
			t.Log(err)
			r.checkUnusable(ctx, t, m)
		})
	}
}

// checkUnusable checks that a snapshot that was not completely unpacked can be
// removed and nothing else, also by the next process.
func (r *rig) checkUnusable(ctx context.Context, t *testing.T, m []mount.Mount) {
	t.Helper()
	for range 2 {
		if err := r.store.UnmountAll(ctx); err != nil {
			t.Fatal(err)
		}
		if err := r.resolve(ctx, m); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("resolve: expected failed precondition, got %v", err)
		}
		if err := r.sn.Commit(ctx, "name", "key"); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("commit: expected failed precondition, got %v", err)
		}
		empty := tarOf(t)
		if err := r.apply(ctx, wire.ApplyRequest{Snapshot: r.id(t, m), MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(empty), Size: int64(len(empty))}, empty); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("apply: expected failed precondition, got %v", err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if err := r.startStore(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.sn.Remove(ctx, "key"), r.store.Cleanup(ctx)); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(r.root, "snapshots")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestApplyStaysInside unpacks layers that try to write outside the snapshot.
func TestApplyStaysInside(t *testing.T) {
	for name, entries := range map[string][]entry{
		"dots":                   {file("../../../../escaped", "x", 0o644)},
		"absolute":               {file("/escaped", "x", 0o644)},
		"through absolute link":  {link(tar.TypeSymlink, "out", "OUTSIDE"), file("out/escaped", "x", 0o644)},
		"through relative link":  {link(tar.TypeSymlink, "out", strings.Repeat("../", 30)+"OUTSIDE"), file("out/escaped", "x", 0o644)},
		"over a link":            {link(tar.TypeSymlink, "escaped", "OUTSIDE/escaped"), file("escaped", "x", 0o644)},
		"hard link":              {link(tar.TypeLink, "stolen", "OUTSIDE/secret")},
		"hard link through link": {link(tar.TypeSymlink, "out", "OUTSIDE"), link(tar.TypeLink, "stolen", "out/secret")},
		"whiteout of dots":       {file("x/.wh...", "", 0)},
		"whiteout through link":  {link(tar.TypeSymlink, "out", "OUTSIDE"), file("out/.wh.secret", "", 0)},
		"opaque through link":    {link(tar.TypeSymlink, "out", "OUTSIDE"), file("out/.wh..wh..opq", "", 0)},
		"device over root":       {device(tar.TypeChar, ".", 1, 3)},
	} {
		for _, parent := range []string{"", "base"} {
			t.Run(name+" on "+parent, func(t *testing.T) {
				r, ctx := newRig(t), testContext(t)
				outside := filepath.Join(r.dir, "outside")
				if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)); err != nil {
					t.Fatal(err)
				}
				if parent != "" {
					unpackAs(ctx, t, r, parent, file("base", "x", 0o644))
				}
				before := tree(t, outside)
				for i, e := range entries {
					entries[i].Linkname = strings.ReplaceAll(e.Linkname, "OUTSIDE", outside)
				}
				desc := r.put(ctx, t, ocispec.MediaTypeImageLayer, tarOf(t, entries...))
				m, err := r.sn.Prepare(ctx, "key", parent)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.differ.Apply(ctx, desc, m); err != nil {
					t.Log(err) // refusing is fine, too
				}
				same(t, before, tree(t, outside))
				err = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Name() == "escaped" && !strings.Contains(path, "/store/snapshots/") && !strings.Contains(path, "/tree/snapshots/") {
						t.Errorf("escaped to %s", path)
					}
					if err == nil && d.Name() == "stolen" {
						if b, err := os.ReadFile(path); err == nil && string(b) == "secret" {
							t.Errorf("%s is a file from outside", path)
						}
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// unpackAs makes a committed snapshot of one layer.
func unpackAs(ctx context.Context, t testing.TB, r *rig, name string, entries ...entry) {
	t.Helper()
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayer, tarOf(t, entries...))
	m, err := r.sn.Prepare(ctx, name+"-key", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.differ.Apply(ctx, desc, m); err != nil {
		t.Fatal(err)
	}
	if err := r.sn.Commit(ctx, name, name+"-key"); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull unpacks a layer that does not fit.
func TestDiskFull(t *testing.T) {
	requireRoot(t)
	small := t.TempDir()
	disk := mount.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=8m"}}
	if err := disk.Mount(small); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	r, err := makeRigAt(t.TempDir(), filepath.Join(small, "store"))
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	desc := r.put(ctx, t, ocispec.MediaTypeImageLayerZstd, zstdOf(t, tarOf(t, entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "big", Mode: 0o644}, sparse: 32 << 20})))
	m, err := r.sn.Prepare(ctx, "a container", "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.differ.Apply(ctx, desc, m)
	t.Log(err)
	if !errdefs.IsResourceExhausted(err) {
		t.Fatalf("expected resource exhausted, got %v", err)
	}
	for _, say := range []string{syscall.ENOSPC.Error(), "a container", desc.Digest.String()} {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("error does not say %q: %v", say, err)
		}
	}
	if err := errors.Join(r.sn.Remove(ctx, "a container"), r.store.Cleanup(ctx)); err != nil {
		t.Fatalf("remove on a full disk: %v", err)
	}
	unpackAs(ctx, t, r, "small", file("a", "fits", 0o644))

	// A container that fills the disk can be removed, too.
	if m, err = r.sn.Prepare(ctx, "writer", "small"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m[0].Source, "b"), make([]byte, 32<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("expected a full disk, got %v", err)
	}
	if err := errors.Join(r.sn.Remove(ctx, "writer"), r.store.Cleanup(ctx)); err != nil {
		t.Fatalf("remove on a full disk: %v", err)
	}
	if _, err = r.sn.Prepare(ctx, "room", "small"); err != nil {
		t.Errorf("disk is not free again: %v", err)
	}
}

// TestApplyEndsWithItsCaller cancels an Apply whose layer does not arrive.
func TestApplyEndsWithItsCaller(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	m, err := r.sn.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	header, err := wire.ApplyRequest{Snapshot: r.id(t, m), MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(""), Size: 1 << 20}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.link.Open(ctx, wire.ServiceApply, header)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(conn, bytes.NewReader(tarOf(t, file("a", "b", 0o644)))); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := r.sn.Remove(ctx, "key"); err != nil { // waits for the end of Apply
		t.Error(err)
	}
}
