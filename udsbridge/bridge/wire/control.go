// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"strings"
)

const (
	// MaxPrefixes is how many prefixes one side may watch.
	MaxPrefixes = 64
	// MaxSockets is how many sockets are told of below one prefix.
	MaxSockets = 4096
	// maxDirs bounds Hello.Dirs.
	maxDirs = 64
)

// Hello is what the sides tell each other first. It is the header of the stream of
// ServiceControl, and the payload of the FrameHello that answers it.
type Hello struct {
	Version uint32
	// Name tells one bridge of a machine from others, Instance one run of it from the
	// next. A new run means that the connections of the one before are dead.
	Name     string
	Instance uint64
	// Dirs are the directories whose files the sender opens by path when a
	// descriptor of one is passed to it.
	Dirs []string
}

// Encode returns the bytes of the hello.
func (h Hello) Encode() []byte {
	var w writer
	w.number(uint64(h.Version))
	w.text(h.Name)
	w.number(h.Instance)
	encodePaths(&w, h.Dirs)
	return w.b
}

// ParseHello parses what Encode returns. Another version is an error.
func ParseHello(b []byte) (Hello, error) {
	r := reader{b: b}
	h := Hello{Version: r.uint32("version")}
	if r.err == nil && h.Version != Version {
		return Hello{}, malformed("peer speaks version %d of the bridge's protocol, not %d", h.Version, Version)
	}
	h.Name = r.text("name", maxPath)
	h.Instance = r.number("instance", math.MaxUint64)
	h.Dirs = parsePaths(&r, maxDirs)
	if err := r.end(); err != nil {
		return Hello{}, err
	}
	return h, nil
}

func encodePaths(w *writer, paths []string) {
	w.number(uint64(len(paths)))
	for _, p := range paths {
		w.text(p)
	}
}

func parsePaths(r *reader, limit int) []string {
	var paths []string
	for range r.number("number of paths", uint64(limit)) {
		if r.err != nil {
			break
		}
		p := r.text("path", maxPath)
		if r.err == nil && p != "/" && !ValidPath(p) {
			r.fail("%q is neither a clean absolute path nor @NAME", p)
		}
		paths = append(paths, p)
	}
	return paths
}

// Watch is the payload of a FrameWatch: the prefixes to tell of, and no others.
type Watch struct{ Prefixes []string }

// Encode returns the payload.
func (t Watch) Encode() []byte {
	var w writer
	encodePaths(&w, t.Prefixes)
	return w.b
}

// ParseWatch parses what Encode returns.
func ParseWatch(b []byte) (Watch, error) {
	r := reader{b: b}
	t := Watch{Prefixes: parsePaths(&r, MaxPrefixes)}
	if err := r.end(); err != nil {
		return Watch{}, err
	}
	return t, nil
}

// Socket is a socket of the sender.
type Socket struct {
	// Name is its path below the prefix; "" if the prefix is the socket.
	Name string
	Kind SocketKind
	// Live says that a program has the socket open; otherwise only its file is
	// there. Kind is 0 then.
	Live bool
	// Mode has the permission bits of the file, UID and GID its owner.
	Mode     uint32
	UID, GID uint32
}

// Sockets is the payload of a FrameSockets: all that is below a prefix.
type Sockets struct {
	Prefix string
	// Problem says why the list may lack something, for people.
	Problem string
	List    []Socket
}

// Encode returns the payload. A list of MaxSockets always fits into a frame.
func (t Sockets) Encode() []byte {
	var w writer
	w.text(t.Prefix)
	w.text(t.Problem[:min(len(t.Problem), maxReason)])
	w.number(uint64(len(t.List)))
	for _, s := range t.List {
		w.text(s.Name)
		w.number(uint64(s.Kind))
		w.flag(s.Live)
		w.number(uint64(s.Mode))
		w.number(uint64(s.UID))
		w.number(uint64(s.GID))
	}
	return w.b
}

// maxName bounds Socket.Name: what fits into the address of a socket.
const maxName = 107

// ParseSockets parses what Encode returns.
func ParseSockets(b []byte) (Sockets, error) {
	r := reader{b: b}
	var t Sockets
	t.Prefix = r.text("prefix", maxPath)
	t.Problem = Printable(r.text("problem", maxReason))
	for range r.number("number of sockets", MaxSockets) {
		if r.err != nil {
			break
		}
		s := Socket{
			Name: r.text("name", maxName),
			Kind: SocketKind(r.number("kind of socket", uint64(Datagram))),
			Live: r.flag("live"),
			Mode: uint32(r.number("mode", 0o777)),
			UID:  r.uint32("uid"),
			GID:  r.uint32("gid"),
		}
		if r.err == nil && s.Live != (s.Kind != 0) {
			r.fail("socket %q has kind %d and live %t", s.Name, s.Kind, s.Live)
		}
		if r.err == nil && s.Name != "" && (!validParts(s.Name) || strings.ContainsRune(s.Name, 0)) {
			r.fail("name of socket %q is not a clean path", s.Name)
		}
		t.List = append(t.List, s)
	}
	if err := r.end(); err != nil {
		return Sockets{}, err
	}
	return t, nil
}
