// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/shim/wire"
)

// socket makes a unix socket in the pod's directory, each connection to which
// is one to the DPU's socket exported under name. It returns the path.
func (f *files) socket(ctx context.Context, name string) (string, error) {
	dir := filepath.Join(f.half.dir, "sockets")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("make socket: %w", err)
	}
	path := filepath.Join(dir, name)
	l, err := launcher.ListenIn("unix", dir, name)
	if err != nil {
		return "", fmt.Errorf("make socket: %w", err)
	}
	// Who may connect is decided by who has the bind mount.
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return "", fmt.Errorf("make socket: %w", err)
	}
	f.mu.Lock()
	f.sockets = append(f.sockets, l)
	f.mu.Unlock()
	go f.serveSocket(context.WithoutCancel(ctx), l, name)
	return path, nil
}

func (f *files) serveSocket(ctx context.Context, l *net.UnixListener, name string) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			sess, _ := f.half.session()
			st, err := sess.Open(ctx, wire.ServiceSocket, []byte(name))
			if err != nil {
				f.half.log.Warn("connect to a socket of the DPU", "export", name, "error", err)
				return
			}
			defer st.Close()
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = io.Copy(st, c); _ = st.CloseWrite() })
			wg.Go(func() { _, _ = io.Copy(c, st); _ = c.CloseWrite() })
			wg.Wait()
		}()
	}
}
