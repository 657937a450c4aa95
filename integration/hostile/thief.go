// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/wire"
	shimwire "github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// Thief asks the DPU for files, which it serves to the HOST for a pod.
type Thief struct {
	st   *session.Stream
	in   *framing.Receiver
	id   uint32
	root uint64
}

// Break opens what the DPU serves for the pod.
func (p *Pair) Break(ctx context.Context) (*Thief, error) {
	st, err := p.DPU.Open(ctx, shimwire.ServiceFiles, nil)
	if err != nil {
		return nil, err
	}
	t := &Thief{st: st, in: framing.NewReceiver(st)}
	rep, _, errno, err := t.ask(&wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version})
	if err != nil || errno != 0 {
		st.Close()
		return nil, fmt.Errorf("say hello: %w (%w)", errno, err)
	}
	t.root = rep.Entry.Node
	return t, nil
}

// Close gives up what was opened.
func (t *Thief) Close() error { return t.st.Close() }

func (t *Thief) ask(req *wire.Request) (rep wire.Reply, data []byte, errno unix.Errno, err error) {
	t.id++
	body := req.AppendBody(nil)
	h := wire.Header{Kind: wire.KindRequest, Op: req.Op, ID: t.id, Body: len(body), Data: len(req.Data)}
	if _, err := t.st.Write(append(append(h.Append(nil), body...), req.Data...)); err != nil {
		return rep, nil, 0, err
	}
	for {
		h, body, err := t.in.Next()
		if err != nil {
			return rep, nil, 0, err
		}
		data := make([]byte, h.Data)
		if err := t.in.Data(data); err != nil {
			return rep, nil, 0, err
		}
		if h.ID != t.id {
			continue
		}
		if h.Errno != 0 {
			return rep, nil, h.Errno.Local(), nil
		}
		return rep, data, 0, rep.ParseBody(h.Op, body)
	}
}

// maxExports is up to which number exports are looked for.
const maxExports = 64

// Exports returns the nodes of all that is served, by name.
func (t *Thief) Exports() (map[string]wire.Entry, error) {
	found := map[string]wire.Entry{}
	for i := range maxExports {
		name := strconv.Itoa(i)
		rep, _, errno, err := t.ask(&wire.Request{Op: wire.OpLookup, Node: t.root, Name: name})
		if err != nil {
			return nil, err
		}
		if errno == 0 {
			found[name] = rep.Entry
		}
	}
	return found, nil
}

// Read returns the beginning of the file that is at a path below a node.
func (t *Thief) Read(node uint64, path ...string) ([]byte, error) {
	node, err := t.walk(node, path...)
	if err != nil {
		return nil, err
	}
	rep, data, errno, err := t.ask(&wire.Request{Op: wire.OpOpen, Node: node, Flags: wire.OpenRead, Size: 4096})
	if err != nil || errno != 0 {
		return nil, fmt.Errorf("open: %w (%w)", errno, err)
	}
	if len(data) > 0 {
		return data, nil
	}
	_, data, errno, err = t.ask(&wire.Request{Op: wire.OpRead, Handle: rep.Handle, Size: 4096})
	if err != nil || errno != 0 {
		return nil, fmt.Errorf("read: %w (%w)", errno, err)
	}
	return data, nil
}

// Create makes a file below a node, and returns what the DPU says to it.
func (t *Thief) Create(node uint64, name string) (unix.Errno, error) {
	_, _, errno, err := t.ask(&wire.Request{Op: wire.OpCreate, Node: node, Name: name, Flags: wire.OpenWrite, Mode: 0o644})
	return errno, err
}

// Overwrite opens the file that is at a path below a node for writing, and returns
// what the DPU says to it.
func (t *Thief) Overwrite(node uint64, path ...string) (unix.Errno, error) {
	node, err := t.walk(node, path...)
	if err != nil {
		return 0, err
	}
	_, _, errno, err := t.ask(&wire.Request{Op: wire.OpOpen, Node: node, Flags: wire.OpenWrite | wire.OpenTrunc})
	return errno, err
}

func (t *Thief) walk(node uint64, path ...string) (uint64, error) {
	for _, name := range path {
		rep, _, errno, err := t.ask(&wire.Request{Op: wire.OpLookup, Node: node, Name: name})
		if err != nil || errno != 0 {
			return 0, fmt.Errorf("look up %s: %w (%w)", name, errno, err)
		}
		node = rep.Entry.Node
	}
	return node, nil
}
