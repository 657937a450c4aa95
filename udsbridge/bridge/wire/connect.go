// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"syscall"
)

// Version is the version of the protocol, in Hello.
const Version = 1

// Services of the session.
const (
	// ServiceControl is the stream on which one side tells what it wants to watch
	// and the other what is there.
	ServiceControl = "udsbridge.control"
	// ServiceConnect has a stream for each bridged connection.
	ServiceConnect = "udsbridge.connect"
	// ServiceFile has a stream for each passed descriptor.
	ServiceFile = "udsbridge.file"
)

// SocketKind is the type of a socket.
type SocketKind uint8

// The types of sockets.
const (
	Stream SocketKind = iota + 1
	SeqPacket
	Datagram
)

func (k SocketKind) String() string {
	switch k {
	case Stream:
		return "stream"
	case SeqPacket:
		return "seqpacket"
	case Datagram:
		return "datagram"
	}
	return "unknown"
}

const (
	// maxPath bounds a path, in bytes.
	maxPath = 4096
	// maxGroups bounds the supplementary groups of a program.
	maxGroups = 1024
)

// Credentials say who a program is, as numbers of its own machine.
type Credentials struct {
	PID, UID, GID uint32
	Groups        []uint32
}

// Connect asks for a connection. It is the header of a stream of ServiceConnect.
type Connect struct {
	Kind SocketKind
	// Path is the socket's on the peer: absolute and clean, or @NAME for an
	// abstract one.
	Path string
	// Who connects.
	Who Credentials
	// Source is the address of a datagram socket, as text for people; "" if it has
	// none and no answer can reach it.
	Source string
}

// Encode returns the bytes of the header.
func (c Connect) Encode() []byte {
	var w writer
	w.number(uint64(c.Kind))
	w.text(c.Path)
	w.number(uint64(c.Who.PID))
	w.number(uint64(c.Who.UID))
	w.number(uint64(c.Who.GID))
	w.number(uint64(len(c.Who.Groups)))
	for _, g := range c.Who.Groups {
		w.number(uint64(g))
	}
	w.text(c.Source)
	return w.b
}

// ParseConnect parses what Encode returns.
func ParseConnect(b []byte) (Connect, error) {
	r := reader{b: b}
	var c Connect
	c.Kind = SocketKind(r.number("kind of socket", uint64(Datagram)))
	c.Path = r.text("path", maxPath)
	c.Who.PID = r.uint32("pid")
	c.Who.UID = r.uint32("uid")
	c.Who.GID = r.uint32("gid")
	for range r.number("number of groups", maxGroups) {
		if r.err != nil {
			break
		}
		c.Who.Groups = append(c.Who.Groups, r.uint32("group"))
	}
	c.Source = r.text("source", maxPath)
	if r.err == nil && c.Kind == 0 {
		r.fail("kind of socket is 0")
	}
	if r.err == nil && !ValidPath(c.Path) {
		r.fail("%q is neither a clean absolute path nor @NAME", c.Path)
	}
	if err := r.end(); err != nil {
		return Connect{}, err
	}
	return c, nil
}

// ValidPath reports whether s is an absolute path without empty, "." or ".." parts,
// or the name of an abstract socket behind an @.
func ValidPath(s string) bool {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		return name != "" && len(name) <= maxAbstract
	}
	if s == "/" || !strings.HasPrefix(s, "/") || len(s) > maxPath || strings.ContainsRune(s, 0) {
		return false
	}
	return validParts(s[1:])
}

// maxAbstract is the longest name of an abstract socket, in bytes.
const maxAbstract = 107

func validParts(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// errnos are the errors that connect(2) may give. They cross as their index.
var errnos = []struct {
	name  string
	errno syscall.Errno
}{
	{"ok", 0},
	{"ENOENT", syscall.ENOENT},
	{"EACCES", syscall.EACCES},
	{"ECONNREFUSED", syscall.ECONNREFUSED},
	{"EPROTOTYPE", syscall.EPROTOTYPE},
	{"EAGAIN", syscall.EAGAIN},
	{"ENOTDIR", syscall.ENOTDIR},
	{"ELOOP", syscall.ELOOP},
	{"ENAMETOOLONG", syscall.ENAMETOOLONG},
	{"EPERM", syscall.EPERM},
	{"EMFILE", syscall.EMFILE},
	{"ENOMEM", syscall.ENOMEM},
	{"EIO", syscall.EIO},
}

// Reply is the answer to Connect.
type Reply struct {
	// Errno is 0 if there is a connection, else what connect(2) failed with. One
	// that the protocol doesn't know crosses as EIO.
	Errno syscall.Errno
	// Reason is a sentence for logs.
	Reason string
}

// Encode returns the payload of a FrameReply.
func (p Reply) Encode() []byte {
	var w writer
	name := "EIO"
	for _, e := range errnos {
		if e.errno == p.Errno {
			name = e.name
		}
	}
	w.text(name)
	w.text(p.Reason[:min(len(p.Reason), maxReason)])
	return w.b
}

const maxReason = 1024

// ParseReply parses what Encode returns.
func ParseReply(b []byte) (Reply, error) {
	r := reader{b: b}
	name := r.text("error", 32)
	reason := Printable(r.text("reason", maxReason))
	if err := r.end(); err != nil {
		return Reply{}, err
	}
	for _, e := range errnos {
		if e.name == name {
			return Reply{e.errno, reason}, nil
		}
	}
	return Reply{}, malformed("unknown error %q", Printable(name))
}

// Printable returns s without control characters, for logs.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
