// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package demo shows the system at work to someone who sees it for the first time: a docker run on the DPU, and where
// its processes are. It looks at what it tells: a step whose claim does not hold ends the demonstration with an error.
//
// May import integration/lab. Never holds what a test needs.
package demo
