// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netns does things inside another network namespace.
//
// A namespace is an open file, so that it stays the one it was found to be.
package netns
