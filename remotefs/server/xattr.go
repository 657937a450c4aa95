// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// Extended attributes are reached by the path of the node's descriptor: the
// calls on descriptors refuse those opened with O_PATH, and the path leads to
// the file itself, also if that is a symbolic link.

func (s *session) getXattr(n *node, req *wire.Request, rep *wire.Reply, buf []byte) error {
	size, err := unix.Getxattr(procPath(n.fd), req.Name, buf)
	return xattrReply(req, rep, buf, size, err)
}

func (s *session) listXattr(n *node, req *wire.Request, rep *wire.Reply, buf []byte) error {
	size, err := unix.Listxattr(procPath(n.fd), buf)
	return xattrReply(req, rep, buf, size, err)
}

func xattrReply(req *wire.Request, rep *wire.Reply, buf []byte, size int, err error) error {
	if err != nil {
		return err
	}
	rep.Size = uint32(size)
	if req.Size > 0 {
		rep.Data = buf[:size]
	}
	return nil
}

func (s *session) setXattr(n *node, req *wire.Request) error {
	flags := 0
	if req.Flags&wire.XattrCreate != 0 {
		flags |= unix.XATTR_CREATE
	}
	if req.Flags&wire.XattrReplace != 0 {
		flags |= unix.XATTR_REPLACE
	}
	return unix.Setxattr(procPath(n.fd), req.Name, req.Data, flags)
}

func (s *session) removeXattr(n *node, req *wire.Request) error {
	return unix.Removexattr(procPath(n.fd), req.Name)
}
