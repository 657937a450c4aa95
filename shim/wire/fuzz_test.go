// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"
)

// FuzzRef holds that a text of a spec is at most one kind of reference, that what it names is no way to anywhere else,
// and that it is the reference that is made of it.
func FuzzRef(f *testing.F) {
	for _, r := range []Ref{
		ExportRef("1"), SocketRef("2"), TaskNSRef("pod", "web"), NetNSRef("a"), ShmRef(64 << 20), TaskShmRef("pod", "web"),
		"/etc", exportPrefix + "..", exportPrefix + "a/b", netNSPrefix + "\x00", shmPrefix + "+1", taskNSPrefix + "a/b/c",
	} {
		f.Add(string(r))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, made := Ref(text), []Ref(nil)
		name := func(n string, ok bool, of func(string) Ref) {
			if !ok {
				return
			}
			if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/\x00") {
				t.Fatalf("%q names %q", text, n)
			}
			made = append(made, of(n))
		}
		export, ok := r.Export()
		name(export, ok, ExportRef)
		socket, ok := r.Socket()
		name(socket, ok, SocketRef)
		key, ok := r.NetNS()
		name(key, ok, NetNSRef)
		if shim, id, ok := r.TaskNS(); ok {
			name(shim, true, func(shim string) Ref { return TaskNSRef(shim, id) })
		}
		if shim, id, ok := r.TaskShm(); ok {
			name(id, true, func(id string) Ref { return TaskShmRef(shim, id) })
		}
		if size, ok := r.Shm(); ok {
			made = append(made, ShmRef(size))
			text = string(ShmRef(size)) // zeros may lead
		}
		if len(made) > 1 || len(made) == 1 && (string(made[0]) != text || strings.HasPrefix(text, "/")) {
			t.Fatalf("%q is %q", text, made)
		}
	})
}

// FuzzParseNetwork holds that the name of a network stands for one thing, and is the name that is made of it.
func FuzzParseNetwork(f *testing.F) {
	for _, name := range []string{TaskNetwork("web"), NetNSNetwork("a"), "task:", "netns:", "netns:..", "task:../x", "web", "netns:netns:a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		id, key, ok := ParseNetwork(name)
		if !ok {
			return
		}
		if id != "" && (key != "" || TaskNetwork(id) != name) || id == "" && NetNSNetwork(key) != name {
			t.Fatalf("%q is task %q, key %q", name, id, key)
		}
	})
}
