// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// runcPath is what the HOST runs as runc: a script that kills the real one in the middle of a verb when a file of that
// verb's name says after how many seconds. The file is taken by the first that finds it.
const (
	runcPath   = "/opt/runc"
	runcOrders = "/opt/runc-orders"
	runcScript = `#!/bin/sh
verb=
for word; do
	case $word in create|start|exec|delete|kill) verb=$word; break ;; esac
done
if [ -n "$verb" ] && mv ` + runcOrders + `/$verb ` + runcOrders + `/$verb.$$ 2>/dev/null; then
	after=$(cat ` + runcOrders + `/$verb.$$)
	rm ` + runcOrders + `/$verb.$$
	exec timeout --foreground -s KILL "$after" runc "$@"
fi
exec runc "$@"
`
)

// runcFaults happen to the HOST's runc in the middle of its work.
func runcFaults() []*fault {
	const group = "runc"
	var all []*fault
	for _, c := range []struct{ verb, expect string }{
		{"create", "docker run fails and leaves nothing, or works if runc was done; so does the next one"},
		{"start", "docker run fails and leaves nothing, or works if runc was done; so does the next one"},
		{"exec", "docker exec fails, or works if runc was done; its container goes on"},
		{"kill", "docker kill fails, or works if runc was done; so does the next one"},
		{"delete", "docker rm removes the container all the same; nothing is left"},
	} {
		all = append(all, &fault{
			group: group, name: "kill runc " + c.verb, expect: c.expect, short: true,
			inject: func(ctx context.Context, s *scene) error { return s.killRunc(ctx, c.verb) },
		})
	}
	return all
}

// killRunc kills runc in a verb while docker does what needs that verb.
func (s *scene) killRunc(ctx context.Context, verb string) error {
	w, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	after := s.draw("kill runc "+verb+" after", time.Millisecond, 60*time.Millisecond)
	order := fmt.Sprintf("mkdir -p %[1]s && echo %.3[2]f >%[1]s/new && mv %[1]s/new %[1]s/%[3]s", runcOrders, after.Seconds(), verb)
	if _, err := s.on(ctx, s.Host, order); err != nil {
		return err
	}
	name := s.name("hit")
	var tried string
	switch verb {
	case "create", "start":
		_, err = s.dpu(ctx, "docker", "run", "--rm", "--name", name, s.Image("busybox"), "true")
	case "exec":
		_, err = s.dpu(ctx, "docker", "exec", w.name, "true")
	case "kill":
		_, err = s.dpu(ctx, "docker", "kill", "-s", "WINCH", w.name)
	case "delete":
		// runc delete follows the container's end.
		tried, err = s.dpu(ctx, "docker", "run", "--name", name, s.Image("busybox"), "echo", "done")
		if err == nil && tried != "done" {
			err = fmt.Errorf("it said %q", tried)
		}
		if err == nil {
			_, err = s.dpu(ctx, "docker", "rm", "-f", name)
		}
		if err != nil {
			return err
		}
	}
	var failed *failure
	if err != nil && (!errors.As(err, &failed) || strings.TrimSpace(failed.text) == "") {
		return fmt.Errorf("it did not fail with a reason: %w", err)
	}
	if failed != nil {
		s.note("docker %s failed", verb)
	}
	if left, err := s.on(ctx, s.Host, "ls "+runcOrders); err != nil || left != "" {
		return errors.Join(fmt.Errorf("runc %s was not called", verb), err)
	}
	s.over()
	if _, err := s.on(ctx, s.DPU, "docker rm -f "+name+" 2>/dev/null; true"); err != nil {
		return err
	}
	if err := w.goesOn(ctx); err != nil {
		return err
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	return w.ends(ctx, false)
}
