// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docker holds every docker verb against its control: each script in
// testdata is plain docker command line, and is run in an offload lab and in a
// stock one, where the same dockerd works on one machine. What it prints and its
// exit status must be the same.
//
// Ids, times and the like are replaced before the outputs are compared. A script
// says "# not: REASON" for what is known to differ; the test then insists that it
// does, so that the list in docs/docker-compat.md can only shrink.
//
// It imports integration/lab only.
package docker
