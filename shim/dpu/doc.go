// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpu is the DPU half of the shim: the process that containerd starts
// for a pod, which answers the task API for containers that run on the HOST.
//
// It translates between what the two machines know: paths, namespaces, process
// ids, standard streams and events. It owns the pod's shadows, the DPU ends of
// its streams and the export of the DPU paths its containers were given. It
// never runs a container and never trusts what the HOST half says.
package dpu
