// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package version says which version of offload a program is of.
//
// The go command writes it into a program when it builds it from a checkout; no
// file holds it. The package imports nothing of this module.
package version
