// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package suite tests the offload system between two virtual machines, installed as on real ones, over each kind of
// link. "make integration-vm" runs it; it takes minutes and so is no part of "make test".
//
// May import anything in the repository. Never imported.
package suite
