// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"strings"
	"testing"
)

// late is in the error of a container that was given up because the new daemon did not answer within the second that
// containerd waits, which is for a busy machine to decide.
const late = "error reading server preface"

// TestRestartPolicies holds that dockerd gives up no container that is to be started again and again while offload-dpu
// is restarted.
func TestRestartPolicies(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	const count, restarts = 6, 2
	look := []string{"docker", "inspect", "-f", "{{.State.Status}} {{.RestartCount}} {{.State.Error}}"}
	for range count {
		id := docker(t, "run", "-d", "--restart", "always", "--network", "none", image("busybox"), "true")
		t.Cleanup(func() { remove(t, id) })
		look = append(look, id)
	}
	for range restarts {
		if err := shared.Daemon.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := shared.StartDaemon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a new container runs", printed(t, "works", "docker", "run", "--rm", "--network", "none", image("busybox"), "echo", "works"))
	states := must(t, look...)
	for state := range strings.Lines(states) {
		if strings.HasPrefix(state, "exited") && !strings.Contains(state, late) {
			t.Errorf("given up: %s", state)
		}
	}
	t.Log("\n" + states)
}
