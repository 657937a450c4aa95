// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostlink keeps one session to the HOST's agent, for a process of the
// DPU that lives long.
//
// It imports link and session beside it, and no protocol that is spoken on the
// session.
package hostlink
