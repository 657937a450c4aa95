// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status is how a daemon tells what it is doing: its links, streams,
// mounts, shims and shadows.
//
// What lives here: the form of such a report, the server that a daemon gives it
// out with on a unix socket, the client that asks for it, and the word to the
// service manager that a daemon is ready. The daemon that serves a report makes
// it; this package gathers nothing by itself.
//
// The protocol is HTTP over a unix socket that only root may open: GET
// /v1/status answers with one [Report] as JSON. Fields may be added to it,
// never changed or taken away.
//
// It imports nothing of this module and never changes what it reports on.
package status
