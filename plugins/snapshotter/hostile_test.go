// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/container-offload/offload/plugins/plugintest"
	"github.com/container-offload/offload/plugins/snapshotter"
	"github.com/container-offload/offload/plugins/wire"
)

// host answers as a test tells it to.
type host struct {
	mounts []*types.Mount
	info   *snapshotsapi.Info
	usage  *snapshotsapi.UsageResponse
	list   func(ss snapshotsapi.TTRPCSnapshots_ListServer) error
	err    error
	// removed is the last key that was to be removed.
	removed string
}

func (h *host) Prepare(context.Context, *snapshotsapi.PrepareSnapshotRequest) (*snapshotsapi.PrepareSnapshotResponse, error) {
	return &snapshotsapi.PrepareSnapshotResponse{Mounts: h.mounts}, h.err
}
func (h *host) View(context.Context, *snapshotsapi.ViewSnapshotRequest) (*snapshotsapi.ViewSnapshotResponse, error) {
	return &snapshotsapi.ViewSnapshotResponse{Mounts: h.mounts}, h.err
}
func (h *host) Mounts(context.Context, *snapshotsapi.MountsRequest) (*snapshotsapi.MountsResponse, error) {
	return &snapshotsapi.MountsResponse{Mounts: h.mounts}, h.err
}
func (h *host) Commit(context.Context, *snapshotsapi.CommitSnapshotRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, h.err
}
func (h *host) Remove(_ context.Context, r *snapshotsapi.RemoveSnapshotRequest) (*emptypb.Empty, error) {
	h.removed = r.GetKey()
	return &emptypb.Empty{}, h.err
}
func (h *host) Stat(context.Context, *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	return &snapshotsapi.StatSnapshotResponse{Info: h.info}, h.err
}
func (h *host) Update(context.Context, *snapshotsapi.UpdateSnapshotRequest) (*snapshotsapi.UpdateSnapshotResponse, error) {
	return &snapshotsapi.UpdateSnapshotResponse{Info: h.info}, h.err
}
func (h *host) List(_ context.Context, _ *snapshotsapi.ListSnapshotsRequest, ss snapshotsapi.TTRPCSnapshots_ListServer) error {
	return h.list(ss)
}
func (h *host) Usage(context.Context, *snapshotsapi.UsageRequest) (*snapshotsapi.UsageResponse, error) {
	return h.usage, h.err
}
func (h *host) Cleanup(context.Context, *snapshotsapi.CleanupRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, h.err
}

const root = "/run/offload/host"

// reach serves h on a link and gives a snapshotter that reaches it.
func reach(t *testing.T, h *host) *snapshotter.Snapshotter {
	t.Helper()
	return reachWhen(t, h, nil)
}

// reachWhen is reach for a DPU that has the HOST's tree mounted once ready returns.
func reachWhen(t *testing.T, h *host, ready func(context.Context) error) *snapshotter.Snapshotter {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	snapshotsapi.RegisterTTRPCSnapshotsService(server, h)
	link := plugintest.NewLink()
	served := make(chan error, 1)
	l := link.Listen(wire.ServiceSnapshots)
	go func() { served <- server.Serve(context.Background(), l) }()
	sn, err := snapshotter.New(link.Open, snapshotter.Options{Root: root + "/", Ready: ready})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sn.Close(); err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
		link.Close()
	})
	return sn
}

func bind(source string, options ...string) []*types.Mount {
	return []*types.Mount{{Type: "bind", Source: source, Options: options}}
}

func TestMountsAreRebuilt(t *testing.T) {
	h := &host{mounts: bind("snapshots/17", "rbind", "rw")}
	m, err := reach(t, h).Prepare(t.Context(), "key", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 1 || m[0].Type != "bind" || m[0].Source != root+"/snapshots/17" || fmt.Sprint(m[0].Options) != "[rbind rw]" {
		t.Errorf("got %+v", m)
	}
}

// TestNotMounted holds that no mount is answered that can't be used, and that no snapshot is left for it.
func TestNotMounted(t *testing.T) {
	h := &host{mounts: bind("snapshots/17", "rbind", "rw")}
	reason := fmt.Errorf("the tree is not mounted: %w", errdefs.ErrUnavailable)
	sn := reachWhen(t, h, func(context.Context) error { return reason })
	if _, err := sn.Prepare(t.Context(), "key", ""); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("prepare: %v", err)
	}
	if h.removed != "key" {
		t.Errorf("removed %q, not the snapshot", h.removed)
	}
	h.removed = ""
	if _, err := sn.Mounts(t.Context(), "key"); !errdefs.IsUnavailable(err) {
		t.Errorf("mounts: %v", err)
	}
	if h.removed != "" {
		t.Error("a snapshot was removed that was asked for only")
	}
	reason = nil
	if _, err := sn.Prepare(t.Context(), "key", ""); err != nil || h.removed != "" {
		t.Errorf("prepare once it is mounted: %v, removed %q", err, h.removed)
	}
}

func TestEvilMounts(t *testing.T) {
	ctx := t.Context()
	for name, mounts := range map[string][]*types.Mount{
		"none":           nil,
		"two":            append(bind("snapshots/1", "rbind", "rw"), bind("snapshots/2", "rbind", "rw")...),
		"absolute":       bind("/etc", "rbind", "rw"),
		"dots":           bind("snapshots/../../../etc", "rbind", "rw"),
		"dots in number": bind("snapshots/1/..", "rbind", "rw"),
		"no number":      bind("snapshots/x", "rbind", "rw"),
		"zero":           bind("snapshots/0", "rbind", "rw"),
		"no snapshot":    bind("snapshots/", "rbind", "rw"),
		"nul":            bind("snapshots/1\x00", "rbind", "rw"),
		"our own path":   bind(root+"/snapshots/1", "rbind", "rw"),
		"another option": bind("snapshots/1", "rbind", "rw", "suid"),
		"both modes":     bind("snapshots/1", "rbind", "rw", "ro"),
		"no mode":        bind("snapshots/1", "rbind"),
		"uidmap":         bind("snapshots/1", "rbind", "rw", "uidmap=0:0:1"),
		"overlay":        {{Type: "overlay", Source: "overlay", Options: []string{"upperdir=/etc"}}},
		"fuse helper":    {{Type: "fuse3.sh", Source: "snapshots/1", Options: []string{"rw"}}},
		"template":       {{Type: "format/mkdir/bind", Source: "snapshots/1", Options: []string{"rw"}}},
		"target":         {{Type: "bind", Source: "snapshots/1", Target: "../../etc", Options: []string{"rbind", "rw"}}},
		"nil":            {nil},
	} {
		sn := reach(t, &host{mounts: mounts})
		if m, err := sn.Mounts(ctx, "key"); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("mounts, %s: got %+v, %v", name, m, err)
		}
		if m, err := sn.Prepare(ctx, "key", ""); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("prepare, %s: got %+v, %v", name, m, err)
		}
		if m, err := sn.View(ctx, "key", ""); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("view, %s: got %+v, %v", name, m, err)
		}
	}
	if m, err := reach(t, &host{mounts: bind("snapshots/1", "rbind", "rw")}).View(ctx, "key", ""); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("writable view: got %+v, %v", m, err)
	}
	// containerd takes a read-only mount of a new snapshot for a layer that is
	// there already.
	if m, err := reach(t, &host{mounts: bind("snapshots/1", "rbind", "ro")}).Prepare(ctx, "key", ""); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("read-only snapshot: got %+v, %v", m, err)
	}
}

func good() *snapshotsapi.Info {
	return &snapshotsapi.Info{Name: "key", Kind: snapshotsapi.Kind_ACTIVE, CreatedAt: timestamppb.Now(), UpdatedAt: timestamppb.Now(), Labels: map[string]string{"a": "b"}}
}

func TestEvilInfo(t *testing.T) {
	ctx := t.Context()
	h := &host{info: good()}
	if info, err := reach(t, h).Stat(ctx, "key"); err != nil || info.Kind != snapshots.KindActive || info.Labels["a"] != "b" {
		t.Fatalf("got %+v, %v", info, err)
	}
	for name, spoil := range map[string]func(*snapshotsapi.Info){
		"another name": func(i *snapshotsapi.Info) { i.Name = "other" },
		"no kind":      func(i *snapshotsapi.Info) { i.Kind = snapshotsapi.Kind_UNKNOWN },
		"new kind":     func(i *snapshotsapi.Info) { i.Kind = 99 },
		"bad time":     func(i *snapshotsapi.Info) { i.CreatedAt = &timestamppb.Timestamp{Nanos: -1} },
		"far time":     func(i *snapshotsapi.Info) { i.UpdatedAt = timestamppb.New(time.Now().AddDate(500, 0, 0)) },
		"long parent":  func(i *snapshotsapi.Info) { i.Parent = strings.Repeat("x", 5000) },
		"long label":   func(i *snapshotsapi.Info) { i.Labels = map[string]string{"a": strings.Repeat("x", 5000)} },
		"many labels": func(i *snapshotsapi.Info) {
			i.Labels = map[string]string{}
			for n := range 2000 {
				i.Labels[fmt.Sprint(n)] = ""
			}
		},
	} {
		info := good()
		spoil(info)
		sn := reach(t, &host{info: info})
		if got, err := sn.Stat(ctx, "key"); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("stat, %s: got %+v, %v", name, got, err)
		}
		if got, err := sn.Update(ctx, snapshots.Info{Name: "key"}); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("update, %s: got %+v, %v", name, got, err)
		}
	}
	if _, err := reach(t, &host{}).Stat(ctx, "key"); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("nothing: got %v", err)
	}
}

func TestEvilUsage(t *testing.T) {
	for _, u := range []*snapshotsapi.UsageResponse{{Size: -1}, {Inodes: -1}, {Size: 1 << 62}, {Inodes: 1 << 62}} {
		if got, err := reach(t, &host{usage: u}).Usage(t.Context(), "key"); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%v: got %+v, %v", u, got, err)
		}
	}
}

// TestEndlessList lists the snapshots of a host that never stops.
func TestEndlessList(t *testing.T) {
	label := strings.Repeat("x", 4000)
	sn := reach(t, &host{list: func(ss snapshotsapi.TTRPCSnapshots_ListServer) error {
		for i := 0; ; i++ {
			var block []*snapshotsapi.Info
			for j := range 100 {
				info := good()
				info.Name, info.Labels = fmt.Sprint(i, j), map[string]string{"a": label}
				block = append(block, info)
			}
			if err := ss.Send(&snapshotsapi.ListSnapshotsResponse{Info: block}); err != nil {
				return err
			}
		}
	}})
	called := 0
	err := sn.Walk(t.Context(), func(context.Context, snapshots.Info) error { called++; return nil })
	if !errors.Is(err, wire.ErrProtocol) || called != 0 {
		t.Errorf("called %d times, %v", called, err)
	}
	if err := sn.Cleanup(t.Context()); err != nil {
		t.Errorf("the snapshotter is stuck: %v", err)
	}
}

func TestListEnds(t *testing.T) {
	for name, c := range map[string]struct {
		send func(ss snapshotsapi.TTRPCSnapshots_ListServer) error
		n    int
		kind error
	}{
		"empty": {func(snapshotsapi.TTRPCSnapshots_ListServer) error { return nil }, 0, nil},
		"failed": {func(snapshotsapi.TTRPCSnapshots_ListServer) error {
			return status.Error(codes.InvalidArgument, "filter")
		}, 0, errdefs.ErrInvalidArgument},
		"two": {func(ss snapshotsapi.TTRPCSnapshots_ListServer) error {
			return errors.Join(ss.Send(&snapshotsapi.ListSnapshotsResponse{Info: []*snapshotsapi.Info{good()}}), ss.Send(&snapshotsapi.ListSnapshotsResponse{Info: []*snapshotsapi.Info{good()}}))
		}, 2, nil},
		"failed after one": {func(ss snapshotsapi.TTRPCSnapshots_ListServer) error {
			return errors.Join(ss.Send(&snapshotsapi.ListSnapshotsResponse{Info: []*snapshotsapi.Info{good()}}), status.Error(codes.Internal, "disk"))
		}, 0, errdefs.ErrInternal},
	} {
		n := 0
		err := reach(t, &host{list: c.send}).Walk(t.Context(), func(context.Context, snapshots.Info) error { n++; return nil })
		if !errors.Is(err, c.kind) || n != c.n {
			t.Errorf("%s: expected %d and %v, got %d and %v", name, c.n, c.kind, n, err)
		}
	}
}

// TestEvilErrors checks that errors of the host are bounded, printable, and
// decoded by nothing it chose.
func TestEvilErrors(t *testing.T) {
	st, err := status.New(codes.NotFound, "gone\n\x1b[31m"+strings.Repeat("x", 1<<20)).WithDetails(&anypb.Any{TypeUrl: "types.example/evil", Value: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reach(t, &host{err: st.Err()}).Stat(t.Context(), "key")
	if !errdefs.IsNotFound(err) {
		t.Errorf("expected not found, got %v", err)
	}
	if len(err.Error()) > 4096 || strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "evil") {
		t.Errorf("error is %.200q", err)
	}
}

// TestCallsEnd checks that a call of a host that does not answer ends with its
// context, and that Close ends it, too.
func TestCallsEnd(t *testing.T) {
	link := plugintest.NewLink()
	defer link.Close()
	l := link.Listen(wire.ServiceSnapshots)
	accepted := make(chan struct{})
	go func() {
		if _, err := l.Accept(); err == nil {
			close(accepted)
		}
	}()
	sn, err := snapshotter.New(link.Open, snapshotter.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sn.Remove(ctx, "key") }()
	<-accepted
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("expected canceled, got %v", err)
	}
	go func() { done <- sn.Remove(t.Context(), "key") }()
	for range 2 {
		if err := sn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; !errdefs.IsUnavailable(err) {
		t.Errorf("expected unavailable, got %v", err)
	}
}
