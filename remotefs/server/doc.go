// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server serves directories and single files of this machine, the
// exports, to remotefs clients.
//
// A session is what one client has: nodes (files it has looked up, each held
// by a descriptor opened with O_PATH) and handles (files it has opened). A
// node is reached only from its parent, one name at a time and without
// following symbolic links; a file is opened only through the descriptor of
// its node. So nothing outside of an export has a name, whatever the client
// sends and whatever changes in the tree meanwhile.
//
// The package imports remotefs/wire and never go-fuse: it needs no FUSE. It
// must run as root to act for users other than its own.
package server
