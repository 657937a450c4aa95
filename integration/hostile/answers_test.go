// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"strings"
	"sync"
	"testing"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	eventstypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	shimwire "github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// background runs a container until the test ends.
func background(t *testing.T, name string) (id string) {
	t.Helper()
	t.Cleanup(func() { must(t, "docker rm -f "+name) })
	return strings.TrimSpace(must(t, "docker run -d --name "+name+" "+image()+" sleep 1000"))
}

// TestMetricsWithHoles: containerd and dockerd look into metrics without asking what
// is there, and end when it is not.
func TestMetricsWithHoles(t *testing.T) {
	tell(t, nil)
	id := background(t, "metrics")
	for name, metrics := range map[string]any{
		"version 1": &cgroup1.Metrics{CPU: &cgroup1.CPUStat{}, Memory: &cgroup1.MemoryStat{}, Blkio: &cgroup1.BlkIOStat{}},
		"version 2": &cgroup2.Metrics{CPU: &cgroup2.CPUStat{}, Memory: &cgroup2.MemoryStat{}, Io: &cgroup2.IOStat{}},
		"of events": &eventstypes.TaskOOM{},
	} {
		a, err := typeurl.MarshalAnyToProto(metrics)
		require.NoError(t, err, name)
		payload, err := proto.Marshal(&taskapi.StatsResponse{Stats: a})
		require.NoError(t, err, name)
		bed.liar.Tell(&Lie{Answer: func(c *Call) bool {
			if c.Method == "Stats" {
				c.Response.Payload = payload
			}
			return true
		}})
		attempt(t, "docker stats --no-stream metrics; ctr -n moby tasks metrics "+id)
	}
}

// TestTrashInTheTaskStream: what breaks the protocol ends the pod's session, also
// while a task is being created.
func TestTrashInTheTaskStream(t *testing.T) {
	tell(t, nil)
	for name, lie := range map[string]*Lie{
		"at once": {Take: func(p *Pair, st *session.Stream) bool {
			if p.Target.Kind != link.KindShim || st.Service() != shimwire.ServiceTask {
				return false
			}
			_, _ = st.Write([]byte(strings.Repeat("\xff", 1<<16)))
			st.Close()
			return true
		}},
		"at create": {Ask: func(c *Call) bool {
			if c.Method == "Create" {
				go c.Pair.DPU.Close()
				return false
			}
			return true
		}},
	} {
		bed.liar.Tell(lie)
		out, code := attempt(t, "docker run --rm "+image()+" echo runs")
		if code == 0 || strings.Contains(out, "panic") || strings.Contains(out, "runs") {
			t.Errorf("%s: exit status %d: %s", name, code, out)
		}
	}
}

// TestEventsOfOthers: a pod's HOST half says nothing of another pod's tasks, nor of
// anything that is no task.
func TestEventsOfOthers(t *testing.T) {
	var mu sync.Mutex
	pairs := map[string]*Pair{}
	tell(t, &Lie{Ask: func(c *Call) bool {
		var r taskapi.CreateTaskRequest
		if c.Method == "Create" && proto.Unmarshal(c.Request, &r) == nil {
			mu.Lock()
			defer mu.Unlock()
			pairs[r.ID] = c.Pair
		}
		return true
	}})
	one, other := background(t, "one"), background(t, "other")
	mu.Lock()
	p := pairs[one]
	mu.Unlock()
	require.NotNil(t, p)
	st, err := p.DPU.Open(t.Context(), shimwire.ServiceEvents, nil)
	require.NoError(t, err)
	client := ttrpc.NewClient(st)
	defer client.Close()
	events := eventsapi.NewTTRPCEventsClient(client)
	for want, e := range map[error]any{
		errdefs.ErrPermissionDenied: &eventstypes.TaskExit{ContainerID: other, ID: other, ExitStatus: 1},
		errdefs.ErrInvalidArgument:  &eventstypes.ContainerDelete{ID: other},
	} {
		a, err := typeurl.MarshalAnyToProto(e)
		require.NoError(t, err)
		_, err = events.Forward(t.Context(), &eventsapi.ForwardRequest{Envelope: &apitypes.Envelope{
			Namespace: "moby", Topic: "/tasks/exit", Event: a,
		}})
		assert.ErrorIs(t, errgrpc.ToNative(err), want, "%T", e)
	}
	assert.Equal(t, "true true", strings.Join(strings.Fields(must(t, "docker inspect -f '{{.State.Running}}' one other")), " "))
}
