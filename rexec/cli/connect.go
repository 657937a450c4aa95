// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
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

// dialing says where the server is and how to get there.
type dialing struct {
	address string
	resume  time.Duration
	protection
}

func usualDialing() dialing {
	return dialing{address: defaultConnect(), resume: 5 * time.Minute, protection: usualProtection()}
}

func (d *dialing) register(f *pflag.FlagSet) {
	f.StringVar(&d.address, "connect", d.address, "`address` of the server, or of the daemon that carries to it: unix:///PATH, tcp://HOST:PORT or vsock://CID:PORT (variable "+connectEnv+")")
	f.DurationVar(&d.resume, "resume-timeout", d.resume, "how long to wait for a link that was lost")
	d.protection.register(f)
}

// connect begins a session with the server.
func (d *dialing) connect(ctx context.Context) (*session.Session, error) {
	// A path of any length, other than those of sockets of the link.
	if path, ok := strings.CutPrefix(d.address, "unix://"); ok {
		return client.Connect(ctx, client.Unix(path), "rexec server", d.resume)
	}
	a, err := link.ParseAddress(d.address)
	if err != nil {
		return nil, err
	}
	security, err := d.security(pki.RoleDPU, a, 0)
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, client.Link(&link.Dialer{Address: a, Security: security}), "rexec server "+d.address, d.resume)
}
