// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/container-offload/offload/shim/launcher"
)

// FuzzAssignment holds that what a HOST half takes as an assignment can be handed on.
func FuzzAssignment(f *testing.F) {
	b, err := launcher.Encode(launcher.Assignment{Target: "shim/default/web?create", Peer: "dpu", Dir: "/run/offload/shims/default/web"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{\"target\":3}"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, again launcher.Assignment
		if len(b) > launcher.MaxMessage/8 || decode(b, &a) != nil {
			return
		}
		encoded, err := launcher.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(encoded, &again); err != nil || again != a {
			t.Fatalf("%+v became %+v (%v)", a, again, err)
		}
	})
}

// FuzzCreateOptions holds that a request to create a task is taken with a specification or refused.
func FuzzCreateOptions(f *testing.F) {
	for _, spec := range []string{`{"root":{"path":"offload-export:1"}}`, "{}", "null", "[", `{"linux":{"namespaces":[{"type":"network","path":"offload-netns:a"}]}}`} {
		b, err := json.Marshal(map[string]any{"spec": json.RawMessage("{}"), "runc_options": []byte(spec), "exports": true})
		if err != nil {
			f.Fatal(err)
		}
		f.Add("web", "offload.shim.v1/CreateOptions", b)
		f.Add("web", "offload.shim.v1/CreateOptions", []byte(`{"spec":`+spec+`}`))
	}
	f.Add("../web", "offload.shim.v1/CreateOptions", []byte("{}"))
	f.Add("web", "containerd.events.TaskExit", []byte{})
	f.Fuzz(func(t *testing.T, id, url string, value []byte) {
		o, err := createOptions(&taskapi.CreateTaskRequest{ID: id, Options: &anypb.Any{TypeUrl: url, Value: value}})
		if (o == nil) == (err == nil) {
			t.Fatalf("options %v and error %v", o, err)
		}
	})
}
