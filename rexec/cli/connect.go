// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/udsbridge/session"
)

// connectEnv names another socket than the usual one.
const connectEnv = "REXEC_CONNECT"

// usualSocket is where the daemon of this machine awaits clients.
const usualSocket = "unix:///run/offload/rexec.sock"

func defaultConnect() string {
	if s := os.Getenv(connectEnv); s != "" {
		return s
	}
	return usualSocket
}

// connect begins a session with the server at an address.
func connect(ctx context.Context, address string, resume time.Duration) (*session.Session, error) {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok {
		return nil, fmt.Errorf("address %q is not unix:///PATH", address)
	}
	return client.Connect(ctx, client.Unix(path), "rexec server", resume)
}
