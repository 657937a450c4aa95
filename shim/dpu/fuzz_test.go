// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"testing"

	eventstypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

// FuzzEvent holds that only the events of a shim's tasks come through, about its own tasks, and with nothing in them
// that only the DPU can know.
func FuzzEvent(f *testing.F) {
	for _, e := range []any{
		&eventstypes.TaskExit{ContainerID: "web", ID: "web", Pid: 1, ExitStatus: 1 << 31},
		&eventstypes.TaskCreate{ContainerID: "web", Bundle: "/etc", Pid: 1},
		&eventstypes.TaskOOM{ContainerID: "other"},
		&eventstypes.ContainerDelete{ID: "web"},
	} {
		a, err := typeurl.MarshalAnyToProto(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.GetTypeUrl(), a.GetValue())
	}
	f.Add("", []byte{})
	f.Add("containerd.events.TaskExit", []byte{0x0a, 0xff})
	f.Add("types.containerd.io/opencontainers/runtime-spec/1/Spec", []byte("{}"))
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		ev, err := decodeEvent(&anypb.Any{TypeUrl: url, Value: value})
		if err != nil {
			return
		}
		s := &Service{}
		if _, err := s.localise(ev); err == nil {
			t.Fatalf("%v is about a task that is not there", ev)
		}
		if _, err := localMetrics(&anypb.Any{TypeUrl: url}); err == nil {
			t.Fatalf("%q is an event and metrics", url)
		}
	})
}
