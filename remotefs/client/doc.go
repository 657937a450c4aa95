// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package client mounts what a remotefs server exports.
//
// A mount translates the kernel's FUSE requests to wire requests, one for one
// where it can, and sends them on one connection without waiting for each
// other. It believes nothing that the server says about sizes, names and
// identities without looking at it first.
//
// The package imports remotefs/wire and go-fuse, and never remotefs/server.
package client
