// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugintest is a link inside one process, for the tests of the
// packages beside it: a DPU end that opens streams and a HOST end that listens
// for them, joined by real sockets.
//
// It may import plugins/wire. Nothing but tests may import it.
package plugintest
