// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package rexec_test

// raceEnabled says whether the race detector watches the tests, and so the
// program they are about.
const raceEnabled = true
