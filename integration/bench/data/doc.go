// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package data measures what moves bytes between the two machines: output and input of containers, logs, docker cp,
// docker pull and docker build, against the same daemons with nothing moved. May import bench and lab. Never judges:
// a row short of its goal is marked, not an error.
package data
