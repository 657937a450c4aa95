// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package run measures what a user waits for, docker run, docker exec and ctr run, and what the HOST spends on
// containers besides the containers, both against the same daemons with nothing moved.
//
// May import integration/lab and integration/bench.
package run
