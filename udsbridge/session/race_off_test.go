// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package session

// raceDetector would say that everything takes many times as long.
const raceDetector = false
