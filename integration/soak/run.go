// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the connections may take to go on when the link is back.
const patience = time.Minute

// run cuts the link as often as it is asked to, and fails if a byte is lost, doubled
// or changed, or if a connection ends.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := newLink(ctx, o.udsbridge, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	load, err := startLoad(ctx, l.there, l.here, o.streams)
	if err != nil {
		return err
	}
	defer load.close()
	if err := load.awaitProgress(ctx, patience); err != nil {
		return err
	}
	for i := range o.cuts {
		if err := pause(ctx, o.up/2+rand.N(o.up)); err != nil {
			return err
		}
		// A link may be lost with a word, or without one.
		how := []string{"closed", "silent"}[i%2]
		l.cable.cut(how == "silent")
		if err := pause(ctx, o.down); err != nil {
			return err
		}
		l.cable.mend()
		back := time.Now()
		if err := load.awaitProgress(ctx, patience); err != nil {
			return fmt.Errorf("after cut %d (%s for %s): %w", i+1, how, o.down, err)
		}
		fmt.Fprintf(o.out, "cut %d of %d, %s for %s: every connection went on within %s; %d MiB arrived as they were sent\n",
			i+1, o.cuts, how, o.down, time.Since(back).Round(time.Millisecond), load.arrived()>>20)
	}
	if err := load.finish(patience); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%d cuts, %d connections, %d MiB: nothing lost, doubled or changed\n", o.cuts, o.streams, load.arrived()>>20)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// link is two bridges and the cable between them.
type link struct {
	here, there string // the socket, on either side
	cable       *cable
	bridges     []*exec.Cmd
}

func newLink(ctx context.Context, program, dir string) (_ *link, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := free.Addr().String()
	free.Close()
	l := &link{here: filepath.Join(dir, "here", "s"), there: filepath.Join(dir, "there", "s")}
	if l.cable, err = newCable(addr); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := os.Mkdir(filepath.Dir(l.there), 0o755); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"tcp://" + addr, "-", "--serve", filepath.Dir(l.there), "--runtime", filepath.Join(dir, "r1")},
		{"-", "tcp://" + l.cable.address(), "--allow", filepath.Dir(l.here) + "=" + filepath.Dir(l.there), "--runtime", filepath.Join(dir, "r2")},
	} {
		cmd := exec.CommandContext(ctx, program, append(args, "--insecure")...)
		cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
		cmd.WaitDelay = patience
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start %s: %w", program, err)
		}
		l.bridges = append(l.bridges, cmd)
	}
	return l, nil
}

// close ends the bridges, which must not have ended before.
func (l *link) close() error {
	var errs []error
	for _, cmd := range l.bridges {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			errs = append(errs, fmt.Errorf("end a bridge: %w", err))
		}
		if err := cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("a bridge: %w", err))
		}
	}
	l.cable.close()
	return errors.Join(errs...)
}
