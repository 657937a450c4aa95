// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostile is a HOST that has been taken over, and tests of what it can do
// to a DPU.
//
// The liar stands between a real DPU and a real HOST in a lab. It has the HOST's
// own certificate, so for the DPU it is the HOST; all it does not lie about it
// passes on. A test has it tell one lie at a time, and holds that nothing of the
// DPU leaks, crashes, hangs or grows, and that everything works afterwards.
//
// It imports the packages that speak the link's protocols, and nothing imports it.
package hostile
