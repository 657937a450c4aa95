// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command soak cuts the link below bridged connections again and again, for a minute
// each time if it is let, while they carry random bytes both ways, and looks at every
// byte that arrives.
//
// It imports no other package of this module: it uses the built udsbridge as anybody
// would. Never needs a lab.
package main
