// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"math"
	"strings"
	"testing"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func anyOf(t *testing.T, v any) *anypb.Any {
	t.Helper()
	a, err := typeurl.MarshalAnyToProto(v)
	require.NoError(t, err)
	return a
}

// TestMetricsAreWhole holds that metrics have what daemons take to be there: dockerd
// and containerd look into CPU.Usage of version 1 without asking whether it is there.
func TestMetricsAreWhole(t *testing.T) {
	got, err := localMetrics(anyOf(t, &cgroup1.Metrics{CPU: &cgroup1.CPUStat{}, Memory: &cgroup1.MemoryStat{RSS: 7}}))
	require.NoError(t, err)
	var one cgroup1.Metrics
	require.NoError(t, proto.Unmarshal(got.GetValue(), &one))
	require.NotNil(t, one.CPU.Usage)
	require.NotNil(t, one.CPU.Throttling)
	require.NotNil(t, one.Memory.Usage)
	require.NotNil(t, one.Memory.Swap)
	require.EqualValues(t, 7, one.Memory.RSS)
	require.Nil(t, one.Pids, "a controller that is not there")

	whole := &cgroup2.Metrics{CPU: &cgroup2.CPUStat{UsageUsec: 3}, Pids: &cgroup2.PidsStat{Current: 1}}
	got, err = localMetrics(anyOf(t, whole))
	require.NoError(t, err)
	var two cgroup2.Metrics
	require.NoError(t, proto.Unmarshal(got.GetValue(), &two))
	require.EqualValues(t, 3, two.CPU.UsageUsec)
	require.EqualValues(t, 1, two.Pids.Current)
}

func TestMetricsThatAreNone(t *testing.T) {
	url := anyOf(t, &cgroup2.Metrics{}).GetTypeUrl()
	for name, a := range map[string]*anypb.Any{
		"nothing": nil, "empty": {}, "another type": {TypeUrl: "containerd.events.TaskExit"},
		"trash": {TypeUrl: url, Value: []byte{0xff}}, "too much": {TypeUrl: url, Value: make([]byte, maxMetrics+1)},
	} {
		_, err := localMetrics(a)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, name)
	}
}

func TestPids(t *testing.T) {
	list := func(p ...*tasktypes.ProcessInfo) *taskapi.PidsResponse { return &taskapi.PidsResponse{Processes: p} }
	require.NoError(t, checkPids(list(&tasktypes.ProcessInfo{Pid: 1}, &tasktypes.ProcessInfo{Pid: 2, Info: anyOf(t, &options.ProcessDetails{ExecID: "exec"})})))
	for name, r := range map[string]*taskapi.PidsResponse{
		"another type": list(&tasktypes.ProcessInfo{Info: anyOf(t, &options.Options{})}),
		"no id":        list(&tasktypes.ProcessInfo{Info: anyOf(t, &options.ProcessDetails{ExecID: "../x"})}),
		"trash":        list(&tasktypes.ProcessInfo{Info: &anypb.Any{TypeUrl: processDetails, Value: []byte{0xff}}}),
		"too many":     list(make([]*tasktypes.ProcessInfo, maxPids+1)...),
	} {
		require.ErrorIs(t, checkPids(r), errdefs.ErrInvalidArgument, name)
	}
}

func TestExitTime(t *testing.T) {
	require.Nil(t, exitTime(nil))
	past := timestamppb.New(time.Unix(1700000000, 5))
	require.Same(t, past, exitTime(past))
	for _, ts := range []*timestamppb.Timestamp{
		{Seconds: math.MaxInt64}, {Seconds: math.MinInt64}, {Nanos: -1}, {Seconds: 1 << 40},
	} {
		require.WithinDuration(t, time.Now(), exitTime(ts).AsTime(), time.Hour, "%v", ts)
	}
}

func TestTextOfTheHost(t *testing.T) {
	require.Equal(t, "no such\tfile\nü", localText("no such\tfile\nü"))
	require.Equal(t, "?[2Jgone?", localText("\x1b[2Jgone\x00"))
	require.LessOrEqual(t, len(localText(strings.Repeat("x", 1<<20))), maxText)
}

// TestExitsAreBounded holds that made-up exits neither pile up nor come twice, and
// that one which comes while the task's own waits for the others disturbs nobody.
func TestExitsAreBounded(t *testing.T) {
	task := newTask("web", "", nil)
	var all []func()
	for range maxPendingExits {
		told, err := task.noteExit("x")
		require.NoError(t, err)
		all = append(all, told)
	}
	_, err := task.noteExit("x")
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	for _, told := range all {
		told()
	}
	require.NoError(t, task.noteOwnExit())
	require.ErrorIs(t, task.noteOwnExit(), errdefs.ErrAlreadyExists)
	late, err := task.noteExit("late")
	require.NoError(t, err)
	task.execExits.Wait() // not for the late one
	late()
}
