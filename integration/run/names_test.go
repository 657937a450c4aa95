// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"slices"
	"strings"
	"testing"
)

// TestUserNamespace runs a container whose root is nobody in particular on the HOST.
func TestUserNamespace(t *testing.T) {
	leavesNothing(t)
	const show = "id -u; cat /proc/self/uid_map | tr -s ' '; echo written > /new; cat /new; stat -c %u /etc/passwd"
	r := try(t, ctrRun("--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", image("busybox"), name(t), "sh", "-c", show)...)
	if want := "0\n 0 100000 65536\nwritten\n0\n"; r.code != 0 || r.stdout != want {
		t.Errorf("exit status %d, output %q, want %q: %s", r.code, r.stdout, want, r.stderr)
	}
}

// TestLongNames runs a container whose namespace and id are as long as containerd lets them be.
func TestLongNames(t *testing.T) {
	// runc leaves a namespace's own cgroup, here and anywhere.
	leavesNothingIn(t, shared, shared.Host.Name()+": cgroup ")
	namespace, id := strings.Repeat("n", 76), strings.Repeat("c", 76)
	in := func(args ...string) []string { return append([]string{"ctr", "--namespace", namespace}, args...) }
	must(t, in("images", "pull", "--plain-http", "--snapshotter", snapshotter(), image("busybox"))...)
	t.Cleanup(func() {
		must(t, in("images", "rm", "--sync", image("busybox"))...)
		must(t, in("content", "prune", "references")...)
		must(t, "ctr", "namespaces", "rm", namespace)
	})
	run := ctrRun("--rm", image("busybox"), id, "echo", "long")
	if out := must(t, slices.Concat([]string{"ctr", "--namespace", namespace}, run[1:])...); out != "long" {
		t.Errorf("output %q", out)
	}
}
