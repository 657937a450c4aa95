// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package machine describes a machine to another: its kernel, its processors, its
// operating system. The HOST writes its description, the DPU reads it and trusts
// none of it.
//
// It imports nothing of this module.
package machine
