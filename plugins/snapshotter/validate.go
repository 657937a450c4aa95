// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/labels"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/container-offload/offload/plugins/wire"
)

type mountProto = types.Mount

// Limits on what the HOST may say.
const (
	maxName   = 4096
	maxLabels = 1024
	// maxUsage bounds a snapshot's size in bytes and its number of inodes: more
	// than any disk has, and still safe to add up by the thousands.
	maxUsage = 1 << 50
)

// invalid is an answer the HOST should not have given.
func invalid(format string, args ...any) error {
	return fmt.Errorf("invalid answer from host: "+format+": %w", append(args, wire.ErrProtocol)...)
}

// mounts takes the HOST's answer for where a snapshot of the given kind is, and
// builds the DPU's mount of it. Nothing of the answer but a number and whether it
// is read-only gets through. KindUnknown stands for either kind.
func (s *Snapshotter) mounts(answer []*mountProto, kind snapshots.Kind) ([]mount.Mount, error) {
	if len(answer) != 1 {
		return nil, invalid("%d mounts for a snapshot", len(answer))
	}
	m := answer[0]
	if m.GetType() != "bind" || m.GetTarget() != "" {
		return nil, invalid("mount of type %q", wire.Printable(m.GetType(), 64))
	}
	id, err := wire.ParseSource(m.GetSource())
	if err != nil {
		return nil, invalid("%v", err)
	}
	mode := ""
	for _, o := range m.GetOptions() {
		switch {
		case o == "rbind":
		case (o == "rw" || o == "ro") && mode == "":
			mode = o
		default:
			return nil, invalid("mount option %q", wire.Printable(o, 64))
		}
	}
	if want := map[snapshots.Kind][]string{
		snapshots.KindActive:  {"rw"},
		snapshots.KindView:    {"ro"},
		snapshots.KindUnknown: {"rw", "ro"},
	}[kind]; !slices.Contains(want, mode) {
		return nil, invalid("mount is %q, expected one of %q", mode, want)
	}
	return []mount.Mount{{
		Type:    "bind",
		Source:  filepath.Join(s.root, id.Source()),
		Options: []string{"rbind", mode},
	}}, nil
}

// namedInfo checks what the HOST says about the snapshot called name.
func namedInfo(name string, p *snapshotsapi.Info) (snapshots.Info, error) {
	info, err := validInfo(p)
	if err != nil {
		return snapshots.Info{}, err
	}
	if info.Name != name {
		return snapshots.Info{}, invalid("asked for snapshot %q, told of %q", name, wire.Printable(info.Name, 128))
	}
	return info, nil
}

func validInfo(p *snapshotsapi.Info) (snapshots.Info, error) {
	if p == nil {
		return snapshots.Info{}, invalid("nothing about the snapshot")
	}
	for _, name := range []string{p.GetName(), p.GetParent()} {
		if len(name) > maxName || !utf8.ValidString(name) {
			return snapshots.Info{}, invalid("snapshot name of %d bytes", len(name))
		}
	}
	if p.GetName() == "" {
		return snapshots.Info{}, invalid("snapshot without a name")
	}
	switch p.GetKind() {
	case snapshotsapi.Kind_ACTIVE, snapshotsapi.Kind_VIEW, snapshotsapi.Kind_COMMITTED:
	default:
		return snapshots.Info{}, invalid("snapshot of kind %d", p.GetKind())
	}
	for _, t := range []*timestamppb.Timestamp{p.GetCreatedAt(), p.GetUpdatedAt()} {
		if t == nil {
			continue
		}
		if err := t.CheckValid(); err != nil {
			return snapshots.Info{}, invalid("snapshot time: %v", err)
		}
		if y := t.AsTime().Year(); y < 1970 || y > time.Now().Year()+100 {
			return snapshots.Info{}, invalid("snapshot time in the year %d", y)
		}
	}
	if len(p.GetLabels()) > maxLabels {
		return snapshots.Info{}, invalid("snapshot with %d labels", len(p.GetLabels()))
	}
	for k, v := range p.GetLabels() {
		if err := labels.Validate(k, v); err != nil {
			return snapshots.Info{}, invalid("snapshot label: %v", err)
		}
	}
	return proxy.InfoFromProto(p), nil
}

func validUsage(r *snapshotsapi.UsageResponse) (snapshots.Usage, error) {
	for _, n := range []int64{r.GetSize(), r.GetInodes()} {
		if n < 0 || n > maxUsage {
			return snapshots.Usage{}, invalid("snapshot usage of %d", n)
		}
	}
	return proxy.UsageFromProto(r), nil
}
