// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package net measures the networks of containers: throughput, rate of small packets and latency, between the DPU and
// a container and between two containers, against stock docker's bridge with nothing moved and against the link
// between the machines itself.
//
// Package peer in it is the program that makes and takes the traffic. May import integration/lab and integration/bench.
package net
