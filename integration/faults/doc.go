// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults does to a running system what happens to systems, and holds what has to come of it.
//
// A [fault] is one such thing: a process is killed or stopped, the link is cut or made bad, a disk is full, there is more
// to do than usual. Each is injected into a lab in which witnesses run: containers that count, on their standard output
// and in a file of the DPU, so that whatever is lost, doubled or changed shows. Afterwards everything that is there, on
// both sides, is compared with what was there before.
//
// What is drawn by chance is drawn from a seed, a fault's name and its round, so any one injection can be repeated by
// itself. The order of all is drawn from the seed alone.
//
// May import integration/lab. Never imported by what is shipped.
package faults
