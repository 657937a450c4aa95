// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pathrule says what a path of the DPU is on the HOST: a path on a
// remotefs mount is a HOST path, any other is a DPU path. The mount table of
// the kernel is the only table there is.
//
// It reads /proc and the paths it is asked about, and changes nothing.
package pathrule
