// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What the HOST answers goes on to daemons that take a runtime's word for it. Here
// it is made to be such as a runtime of their own could have said.

const (
	// maxMetrics bounds a task's metrics, in bytes: enough for thousands of
	// processors and disks.
	maxMetrics = 1 << 20
	// maxPids bounds a task's list of processes.
	maxPids = 1 << 16
	// maxText bounds the HOST's words about what went wrong, in bytes.
	maxText = 8 << 10
)

// exitStatus bounds what the HOST reports to what wait(2) can report.
func exitStatus(status uint32) uint32 { return min(status, 255) }

// exitTime returns the time of an exit that the HOST reports, or now if it is none
// that every daemon can write down. None at all means that nothing has exited.
func exitTime(ts *timestamppb.Timestamp) *timestamppb.Timestamp {
	if ts == nil || ts.IsValid() && ts.AsTime().Year() >= 1 && ts.AsTime().Year() <= time.Now().Year()+100 {
		return ts
	}
	return timestamppb.Now()
}

// localText makes the HOST's words such as can be shown on a terminal.
func localText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s[:min(len(s), maxText)])
	return s
}

// localMetrics returns the cgroup metrics of either cgroup version, without parts
// that the daemons take to be there and that are not.
func localMetrics(a *anypb.Any) (*anypb.Any, error) {
	var m proto.Message
	switch url := strings.TrimPrefix(a.GetTypeUrl(), "types.googleapis.com/"); url {
	case "io.containerd.cgroups.v1.Metrics":
		m = new(cgroup1.Metrics)
	case "io.containerd.cgroups.v2.Metrics":
		m = new(cgroup2.Metrics)
	default:
		return nil, fmt.Errorf("metrics of the HOST: unexpected type %q: %w", localText(url), errdefs.ErrInvalidArgument)
	}
	if len(a.GetValue()) > maxMetrics {
		return nil, fmt.Errorf("metrics of the HOST have %d bytes, more than %d: %w", len(a.GetValue()), maxMetrics, errdefs.ErrInvalidArgument)
	}
	if err := proto.Unmarshal(a.GetValue(), m); err != nil {
		return nil, fmt.Errorf("metrics of the HOST: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	// A controller that is not there is left out as a whole.
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() {
			complete(v.Message())
		}
		return true
	})
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("metrics of the HOST: %w", err)
	}
	return &anypb.Any{TypeUrl: a.GetTypeUrl(), Value: value}, nil
}

// complete gives a message those of its parts that it lacks.
func complete(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message() != nil && !f.IsList() && !f.IsMap() {
			complete(m.Mutable(f).Message())
		}
	}
}

// processDetails is the type of what runc's shim says of an added process.
const processDetails = "containerd.runc.v1.ProcessDetails"

// checkPids accepts a task's list of processes.
func checkPids(r *taskapi.PidsResponse) error {
	if len(r.GetProcesses()) > maxPids {
		return fmt.Errorf("%d processes of a task on the HOST, more than %d: %w", len(r.GetProcesses()), maxPids, errdefs.ErrInvalidArgument)
	}
	for _, p := range r.GetProcesses() {
		if p.GetInfo() == nil {
			continue
		}
		// containerd's type URLs have no host, with which alone UnmarshalTo would do.
		if url := p.GetInfo().GetTypeUrl(); url != processDetails {
			return fmt.Errorf("details of a process of the HOST: unexpected type %q: %w", localText(url), errdefs.ErrInvalidArgument)
		}
		var d options.ProcessDetails
		if err := proto.Unmarshal(p.GetInfo().GetValue(), &d); err != nil {
			return fmt.Errorf("details of a process of the HOST: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if err := identifiers.Validate(d.GetExecID()); err != nil {
			return fmt.Errorf("details of a process of the HOST: %w: %w", err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
