// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// A machine that is reset loses its processes, and what is in memory: mounts, /run, network namespaces.
const (
	wipeHost = `
for m in $(awk '$2 ~ "^/run/offload/" || $2 ~ "^/var/lib/offload/" {print $2}' /proc/mounts | sort -r); do umount -l "$m"; done
rm -rf /run/offload
for d in /sys/fs/cgroup/*/docker/*/ /sys/fs/cgroup/*/default/*/ /sys/fs/cgroup/docker/*/ /sys/fs/cgroup/default/*/; do rmdir "$d" 2>/dev/null; done; true`
	wipeDPU = `
for m in $(awk '$3 ~ "^fuse" || $2 ~ "^/run/docker/" || $2 ~ "^/var/lib/docker/" || $2 ~ "^/run/containerd/" {print $2}' /proc/mounts | sort -r); do umount -l "$m"; done
rm -rf /run/offload /run/containerd /run/docker /run/docker.sock /run/docker.pid
ip -o link show type veth | sed -n 's/^[0-9]*: \(veth[^@:]*\).*/\1/p' | while read l; do ip link del "$l"; done; true`
)

// killAll kills all that runs in an environment.
func killAll(env *lab.Env) error {
	for range 20 {
		all, err := env.Processes()
		if err != nil {
			return err
		}
		left := 0
		for _, p := range all {
			if p.Zombie {
				continue
			}
			left++
			if err := unix.Kill(p.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill %v: %w", p.Args, err)
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the processes of the %s do not end", env.Name())
}

// resetHost resets the HOST while the DPU runs on.
func (s *scene) resetHost(ctx context.Context) error {
	return s.resets(ctx, func() error {
		if err := killAll(s.Host); err != nil {
			return err
		}
		<-s.Agent.Done()
		if _, err := s.on(ctx, s.Host, wipeHost); err != nil {
			return err
		}
		if err := pause(ctx, s.draw("the HOST boots for", 3*time.Second, 20*time.Second)); err != nil {
			return err
		}
		return s.StartAgent(ctx)
	})
}

// resetDPU resets the DPU while the HOST runs on.
func (s *scene) resetDPU(ctx context.Context) error {
	return s.resets(ctx, func() error {
		if err := killAll(s.DPU); err != nil {
			return err
		}
		for _, p := range []*lab.Process{s.Daemon, s.Containerd, s.Dockerd} {
			<-p.Done()
		}
		if _, err := s.on(ctx, s.DPU, wipeDPU); err != nil {
			return err
		}
		if err := pause(ctx, s.draw("the DPU boots for", 3*time.Second, 20*time.Second)); err != nil {
			return err
		}
		for _, start := range []func(context.Context) error{s.StartDaemon, s.StartContainerd, s.StartDockerd} {
			if err := start(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// resets holds what has to come of a reset of either machine.
func (s *scene) resets(ctx context.Context, reset func() error) error {
	again, err := s.dockerWitness(ctx, "--restart", "always")
	if err != nil {
		return err
	}
	once, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	if err := reset(); err != nil {
		return err
	}
	s.over()
	if err := s.eventually(ctx, "it is started again", again.identityChanged); err != nil {
		return err
	}
	err = s.eventually(ctx, "the other one is reported dead", func(ctx context.Context) error {
		now, err := s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", once.name)
		if err == nil && !strings.HasPrefix(now, "exited ") {
			err = fmt.Errorf("%s is %q", once.name, now)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	if again.born, err = again.identity(ctx); err != nil {
		return err
	}
	if err := again.goesOn(ctx); err != nil {
		return err
	}
	// A new pod takes the place of the one that the HOST may still have.
	if _, err := s.dpu(ctx, "docker", "start", once.name); err != nil {
		return err
	}
	return errors.Join(again.remove(ctx), once.remove(ctx))
}
