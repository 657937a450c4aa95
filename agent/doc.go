// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent is the room of the two daemons: dpu is offload-dpu, host is
// offload-host. Each puts together what the other rooms offer and owns nothing
// else: no protocol, no policy. Here is what both have in common: how they tell
// about themselves.
//
// Only cmd imports it; it may import every other room.
package agent
