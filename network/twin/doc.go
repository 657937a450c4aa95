// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package twin describes a network namespace as a value and computes the steps
// that turn one description into another.
//
// A description holds what a container can tell from inside: its interfaces,
// addresses, routes, static neighbours and sysctls. Its form is the one that
// crosses the link, so nothing in it depends on an architecture: interface
// indices are names chosen by the DPU, addresses are text.
//
// The package is pure: it opens nothing and knows no kernel.
package twin
