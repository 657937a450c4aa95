// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-offload/offload/remotefs/wire"
)

// secret is what lies beside the export.
const secret = "what no client may see"

// FuzzSession holds that whatever a client sends after its hello, the session ends with the connection, and nothing
// beside the export is read or changed. Clients may do everything but write files, so that none can fill the disk.
func FuzzSession(f *testing.F) {
	frame := func(id uint32, r wire.Request) []byte {
		body := r.AppendBody(nil)
		h := wire.Header{Kind: wire.KindRequest, Op: r.Op, ID: id, Body: len(body), Data: len(r.Data)}
		return append(append(h.Append(nil), body...), r.Data...)
	}
	f.Add(bytes.Join([][]byte{
		frame(1, wire.Request{Op: wire.OpLookup, Node: rootNode, Name: "file"}),
		frame(2, wire.Request{Op: wire.OpOpen, Node: 2, Size: 100}),
		frame(3, wire.Request{Op: wire.OpRead, Handle: 1, Size: 100}),
		frame(4, wire.Request{Op: wire.OpRelease, Handle: 1}),
		frame(5, wire.Request{Op: wire.OpForget, Data: wire.Forget{Node: 2, Count: 9}.Append(nil)}),
	}, nil))
	f.Add(bytes.Join([][]byte{
		frame(1, wire.Request{Op: wire.OpLookup, Node: rootNode, Name: ".."}),
		frame(2, wire.Request{Op: wire.OpLookup, Node: rootNode, Name: "out"}),
		frame(3, wire.Request{Op: wire.OpOpen, Node: 2, Size: 100}),
		frame(4, wire.Request{Op: wire.OpSymlink, Node: rootNode, Name: "new", Target: "../../secret"}),
		frame(5, wire.Request{Op: wire.OpRename, Node: rootNode, Name: "new", Node2: rootNode, Name2: "../secret"}),
		frame(6, wire.Request{Op: wire.OpUnlink, Node: rootNode, Name: "../secret"}),
	}, nil))
	f.Add(bytes.Join([][]byte{
		frame(1, wire.Request{Op: wire.OpOpenDir, Node: rootNode}),
		frame(2, wire.Request{Op: wire.OpReadDir, Handle: 1, Size: 4096, Flags: 1}),
		frame(3, wire.Request{Op: wire.OpGetXattr, Node: rootNode, Name: "user.x", Size: 10}),
		frame(4, wire.Request{Op: wire.OpSetXattr, Node: rootNode, Name: "user.x", Data: []byte("y")}),
		wire.Header{Kind: wire.KindCancel, ID: 3}.Append(nil),
		frame(5, wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version, Name: "x"}),
	}, nil))
	hello := frame(0, wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version, Name: "x"})
	f.Fuzz(func(t *testing.T, requests []byte) {
		dir, err := os.MkdirTemp("", "remotefs-fuzz")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		root := filepath.Join(dir, "root")
		for _, err := range []error{
			os.Mkdir(root, 0o755),
			os.WriteFile(filepath.Join(dir, "secret"), []byte(secret), 0o600),
			os.WriteFile(filepath.Join(root, "file"), []byte("content"), 0o644),
			os.Symlink("../secret", filepath.Join(root, "out")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		s := New(Options{})
		allow := OpenFiles | ReadFiles | ReadDirs | MakeDirs | RemoveDirs | Create | Unlink | Rename | SetAttrs | SetXattrs
		if err := s.Add(Export{Name: "x", Path: root, Allow: allow}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Remove("x") }()
		ours, theirs := net.Pipe()
		ended := make(chan struct{})
		go func() {
			_ = s.Serve(context.Background(), theirs)
			theirs.Close()
			close(ended)
		}()
		var answers bytes.Buffer
		read := make(chan struct{})
		go func() { _, _ = io.Copy(&answers, ours); close(read) }()
		_, _ = ours.Write(append(bytes.Clone(hello), requests...)) // it fails when the session ends early
		ours.Close()
		<-ended
		<-read
		if bytes.Contains(answers.Bytes(), []byte(secret)) {
			t.Fatal("a client has read what lies beside the export")
		}
		if text, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(text) != secret {
			t.Fatalf("what lies beside the export is %q now (%v)", text, err)
		}
	})
}
